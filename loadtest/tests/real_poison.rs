//! A request that ends every process which works on it becomes one dead letter, and its neighbours are answered.
#![cfg(feature = "real-services")]
#![allow(clippy::unwrap_used, reason = "a test ends at the first step that fails")]

mod harness;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use harness::topic::{Out, Reader, Record, Writer};
use harness::{Mesh, Service, row, stop_all, wait_all};

const REQUESTS: usize = 400;
const POISON: usize = 137;
/// The value that ends a prediction process.
const VALUE: &str = "0.6660001";
/// Five ends, each of which costs a session and a rebalance, on a busy machine.
const LIMIT: Duration = Duration::from_secs(240);

fn id(number: usize) -> String {
    format!("poison-{number}")
}

/// Starts again what has ended; how many have.
fn restart(mesh: &Mesh, replicas: &mut [Service]) -> usize {
    let mut ended = 0;
    for replica in replicas {
        if replica.exit_status().is_some() {
            ended += 1;
            *replica = mesh.start("prediction");
        }
    }
    ended
}

#[test]
fn a_request_that_ends_its_process_is_a_dead_letter_and_its_neighbours_are_answered() {
    let mut mesh = Mesh::with_topics("poison");
    mesh.short_sessions();
    mesh.set("FOREBAY__DELIVERY__TIMEOUT", "4m");
    mesh.set("FOREBAY_TEST_ABORT_ON", VALUE);
    let mut others: Vec<Service> =
        ["ingestion", "preprocessing", "caching", "publishing"].iter().map(|stage| mesh.start(stage)).collect();
    let mut replicas = vec![mesh.start("prediction"), mesh.start("prediction")];
    wait_all(others.iter_mut().chain(&mut replicas));
    let (results, letters) =
        (Reader::from_now(&mesh.topic("results_out")), Reader::from_now(&mesh.topic("dead_letters")));
    let (input, writer) = (mesh.topic("requests_in"), Writer::new());
    for number in 0..REQUESTS {
        let features = row(number);
        let features = if number == POISON { features.replacen("[", &format!("[{VALUE},"), 1) } else { features };
        let features = if number == POISON { without_last(&features) } else { features };
        let body = format!(r#"{{"request_id":"{}","features":{features}}}"#, id(number));
        writer.hand_over(Out { topic: &input, payload: body.as_bytes(), ..Out::default() }, number as u64);
    }
    writer.flush();
    let (started, mut ends, mut answers, mut kept) = (Instant::now(), 0, HashMap::new(), Vec::<Record>::new());
    while (answers.len() < REQUESTS || kept.is_empty()) && started.elapsed() < LIMIT {
        ends += restart(&mesh, &mut replicas);
        while let Some(result) = results.poll(Duration::from_millis(100)) {
            let id = result.request_id().unwrap();
            assert!(answers.insert(id.clone(), result.json()).is_none(), "{id} was answered twice");
        }
        kept.extend(letters.poll(Duration::from_millis(20)));
    }
    println!("{ends} ends in {:?}", started.elapsed());
    kept.extend(letters.rest(Duration::from_secs(1)));
    assert!(results.rest(Duration::from_secs(1)).is_empty(), "answered twice");
    let missing: Vec<String> = (0..REQUESTS).map(id).filter(|id| !answers.contains_key(id)).collect();
    assert!(missing.is_empty(), "after {ends} ends: {missing:?}");
    let failed: Vec<&String> =
        answers.iter().filter(|(_, answer)| answer.get("error").is_some()).map(|e| e.0).collect();
    assert_eq!(failed, [&id(POISON)]);
    assert_eq!(answers[&id(POISON)]["error"]["code"], "internal");
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(kept[0].header_text("forebay-code"), "internal");
    assert_eq!(kept[0].header_text("__connect.errors.topic"), mesh.topic("predict"));
    assert!(kept[0].text().contains(&id(POISON)), "the item itself: {}", kept[0].text());
    // three starts, and two with the item alone
    assert!((5..10).contains(&ends), "{ends}");
    stop_all(others.drain(..).chain(replicas).collect());
}

/// A row that has one value less at its end.
fn without_last(row: &str) -> String {
    let (values, _) = row.rsplit_once(',').unwrap();
    format!("{values}]")
}

//! `Idempotency-Key` across two ingestion replicas: one answer, one inference, and a conflict for another payload.
#![cfg(feature = "real-services")]
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test ends at the first step that fails, and reads as one sequence"
)]

mod harness;

use std::time::Duration;

use serde_json::{Value, json};

use harness::topic::Reader;
use harness::{Mesh, Service, http, row, stop_all};

const QUIET: Duration = Duration::from_millis(1500);

fn predict(service: &Service, key: &str, row: &str) -> http::Reply {
    let body = format!(r#"{{"request_id":"once","features":{row}}}"#);
    http::predict(service.http, &[("Idempotency-Key", key)], body).unwrap()
}

#[track_caller]
fn prediction(reply: &http::Reply) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["prediction"].clone()
}

#[test]
fn one_key_is_one_request_wherever_it_arrives() {
    let mut mesh = Mesh::with_topics("key");
    // with a cache the second inference would be saved anyway, and the outside results show what was answered again
    mesh.set("FOREBAY__CACHE__POLICY", "off");
    mesh.set("FOREBAY__RESULTS__ALSO_HTTP", "true");
    let mut services = mesh.start_all();
    services.push(mesh.start("ingestion"));
    services.push(mesh.start("publishing"));
    services[5].wait_ready();
    services[6].wait_ready();
    let ingestion = [&services[0], &services[5]];
    let outside = Reader::from_now(&mesh.topic("results_out"));

    // at the same time, twelve times on two replicas
    let (first, replies) = std::thread::scope(|scope| {
        let call = |number: usize| scope.spawn(move || predict(ingestion[number % 2], "key-1", &row(1)));
        let callers: Vec<_> = (0..12).map(call).collect();
        let mut replies = callers.into_iter().map(|caller| caller.join().unwrap()).collect::<Vec<_>>();
        (replies.remove(0), replies)
    });
    let answer = prediction(&first);
    assert!(answer.is_number(), "{}", first.text());
    for reply in &replies {
        assert_eq!(prediction(reply), answer, "{}", reply.text());
    }
    assert!(outside.poll(Duration::from_secs(20)).is_some(), "a result outside");
    assert_eq!(outside.rest(QUIET).len(), 0, "one result outside for twelve askers");

    // later, on both
    for service in ingestion {
        assert_eq!(prediction(&predict(service, "key-1", &row(1))), answer);
    }
    assert_eq!(outside.rest(QUIET).len(), 0, "nothing new outside");

    // another payload under the same key, later
    for service in ingestion {
        let reply = predict(service, "key-1", &row(2));
        let json = reply.json();
        assert_eq!((reply.status, &json["error"]["code"]), (409, &json!("idempotency_conflict")), "{json}");
        assert!(json["error"]["message"].as_str().unwrap().contains("Idempotency-Key"), "{json}");
    }
    // ... and at the same time, on two replicas: the first to arrive is answered
    let replies: Vec<http::Reply> = std::thread::scope(|scope| {
        let call = |number: usize| scope.spawn(move || predict(ingestion[number], "key-2", &row(10 + number)));
        let callers: Vec<_> = (0..2).map(call).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let mut statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{} | {}", replies[0].text(), replies[1].text());

    // another key is another request, and an unusable key is refused
    assert_eq!(prediction(&predict(ingestion[0], "key-3", &row(1))), answer);
    let reply = predict(ingestion[0], &"k".repeat(256), &row(1));
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (400, &json!("invalid_request")), "{}", reply.text());

    // many rows under one key
    let many = |service: &Service| {
        let body = format!(r#"{{"features":[{},{},{}]}}"#, row(21), row(22), row(23));
        http::predict(service.http, &[("Idempotency-Key", "key-4")], body).unwrap()
    };
    let (one, two) = (many(ingestion[0]), many(ingestion[1]));
    assert_eq!((one.status, two.status), (200, 200), "{} | {}", one.text(), two.text());
    assert_eq!(one.json()["predictions"], two.json()["predictions"]);
    assert_eq!(one.json()["predictions"].as_array().unwrap().len(), 3);
    stop_all(services);
}

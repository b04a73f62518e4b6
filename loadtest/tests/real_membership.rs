//! Processes with a name in their consumer groups: killed and started again, stopped, and started twice. The session is
//! much longer than what is waited for.
#![cfg(feature = "real-services")]
#![allow(clippy::unwrap_used, reason = "a test ends at the first step that fails")]

mod harness;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use forebay_loadtest::mesh_under_test::STAGES;
use harness::load::KafkaLoad;
use harness::topic::{Out, Reader, Writer};
use harness::{Mesh, Service, row, stop_all, wait_all};

const SESSION: &str = "45s";
/// A take-over that waited for the session would need twice as long.
const SOON: Duration = Duration::from_secs(20);

fn start(mesh: &Mesh, stage: &str, replica: usize) -> Service {
    let name = format!("{stage}-{replica}");
    mesh.start_with(stage, &[("FOREBAY__KAFKA__INSTANCE_ID", &name)])
}

/// Waits until a request on each partition has its answer.
fn all_partitions_answer(mesh: &Mesh, what: &str) {
    let results = Reader::from_now(&mesh.topic("results_out"));
    let (input, writer, started) = (mesh.topic("requests_in"), Writer::new(), Instant::now());
    for partition in 0..4 {
        let features = row(1_000_000 + usize::try_from(partition).unwrap());
        let body = format!(r#"{{"request_id":"{what} {partition}","features":{features}}}"#);
        writer.write(Out { topic: &input, partition: Some(partition), payload: body.as_bytes(), ..Out::default() });
    }
    let mut missing: HashSet<String> = (0..4).map(|partition| format!("{what} {partition}")).collect();
    while !missing.is_empty() && started.elapsed() < SOON {
        let result = results.poll(Duration::from_millis(100)).and_then(|result| result.request_id());
        result.into_iter().for_each(|id| _ = missing.remove(&id));
    }
    assert!(missing.is_empty(), "no answers after {SOON:?}: {missing:?}");
    println!("{what}: answered after {:?}", started.elapsed());
}

#[test]
fn a_process_that_is_started_again_under_its_name_continues_at_once_and_one_that_stops_leaves() {
    let mut mesh = Mesh::with_topics("membership");
    mesh.set("FOREBAY__KAFKA__SESSION_TIMEOUT", SESSION);
    let mut services: Vec<[Service; 2]> =
        STAGES.iter().map(|stage| [start(&mesh, stage, 1), start(&mesh, stage, 2)]).collect();
    wait_all(services.iter_mut().flatten());
    all_partitions_answer(&mesh, "at first");
    let load = KafkaLoad::start(&mesh, 50.0, 0.2).among_others();
    for (stage, replicas) in STAGES.iter().zip(&mut services) {
        replicas[0].kill();
        replicas[0] = start(&mesh, stage, 1);
        all_partitions_answer(&mesh, &format!("{stage} killed"));
        // by now it has its partitions again, or the next one to be killed would have all of them
        replicas[0].wait_ready();
    }
    for (stage, replicas) in STAGES.iter().zip(&mut services) {
        replicas[0].stop();
        all_partitions_answer(&mesh, &format!("{stage} stopped"));
    }
    let predictions = &mut services[3];
    predictions[0] = start(&mesh, "prediction", 2);
    let code = predictions[1].wait_exit(SOON);
    assert_ne!(code, Some(0), "the older of two processes with one name ends itself");
    all_partitions_answer(&mesh, "one name twice");
    let findings = load.judge(SOON, Duration::from_secs(2));
    assert!(findings.clean(), "{findings}");
    let mut left: Vec<Service> = Vec::new();
    for (stage, [first, second]) in STAGES.iter().zip(services) {
        left.push(if *stage == "prediction" { first } else { second });
    }
    stop_all(left);
}

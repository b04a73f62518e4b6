//! Parts of the mesh that share a process while the rest is apart, two replicas of each: every request over HTTP and
//! Kafka is answered, and once.
#![cfg(feature = "real-services")]
#![allow(clippy::unwrap_used, reason = "a test ends at the first step that fails")]

mod harness;

use std::net::SocketAddr;
use std::time::Duration;

use harness::load::{HttpLoad, KafkaLoad};
use harness::topic::Reader;
use harness::{Mesh, STAGES, Service, stop_all, wait_all, wait_until};

/// A process of some stages: `forebay up --stages` for several, the service's own binary for one.
fn start(mesh: &Mesh, stages: &str) -> Service {
    match stages.contains(',') {
        true => mesh.launch("forebay", &["up", "--stages", stages], &[]),
        false => mesh.start(stages),
    }
}

/// Two replicas of each process under load, while one replica of the first process is stopped and started again; then
/// `memory` names the topics that must have stayed empty, and the others of the path must not have.
fn answered_once(name: &str, processes: &[&str], memory: &[&str]) {
    let mesh = Mesh::with_topics(name);
    let mut replicas: Vec<[Service; 2]> =
        processes.iter().map(|stages| [start(&mesh, stages), start(&mesh, stages)]).collect();
    wait_all(replicas.iter_mut().flatten());
    let http = processes.iter().position(|stages| stages.contains(STAGES[0])).unwrap();
    let addresses =
        |replicas: &[[Service; 2]]| -> Vec<SocketAddr> { replicas[http].iter().map(|it| it.http).collect() };

    let load = KafkaLoad::start(&mesh, 200.0, 0.3);
    let callers = HttpLoad::start(addresses(&replicas), 4, Duration::from_millis(40));
    for service in replicas.iter().flatten() {
        wait_until(Duration::from_secs(30), &format!("both replicas of {} to share the work", service.name), || {
            service.metric("forebay_stage_received_total", &[]) > 0.0
        });
    }
    if http == 0 {
        // what a load balancer does when a replica is about to leave
        callers.use_addresses(vec![replicas[0][0].http]);
    }
    replicas[0][1].stop();
    replicas[0][1] = start(&mesh, processes[0]);
    replicas[0][1].wait_ready();
    callers.use_addresses(addresses(&replicas));
    let before = callers.answered();
    wait_until(Duration::from_secs(30), "calls to be answered", || callers.answered() > before + 50);

    let called = callers.finish();
    let findings = load.judge(Duration::from_secs(30), Duration::from_secs(3));
    assert!(findings.clean(), "{findings}");
    assert!(called.wrong.is_empty(), "{} of {} callers: {:#?}", called.wrong.len(), called.answered, called.wrong);
    for setting in ["requests", "features", "predict", "predictions", "results", "replies"] {
        let held = Reader::from_start(&mesh.topic(setting)).held();
        assert_eq!(held == 0, memory.contains(&setting), "{setting} holds {held} records");
    }
    replicas.into_iter().for_each(|pair| stop_all(pair.into()));
}

/// Both ends of `replies` run in one process, and it is a topic all the same: the caller may wait in the other replica.
#[test]
fn ingestion_and_publishing_in_one_process() {
    answered_once("outer", &["ingestion,publishing", "preprocessing", "caching", "prediction"], &[]);
}

/// Predictions come back in memory, to the replica whose cache missed.
#[test]
fn caching_and_prediction_in_one_process() {
    let processes = ["caching,prediction", "ingestion", "preprocessing", "publishing"];
    answered_once("inner", &processes, &["predict", "predictions"]);
}

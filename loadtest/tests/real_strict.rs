//! Results in transactions: a reader of committed records gets each once, even from a replica that was paused for longer than
//! its session, has lost its partitions, and wakes up with results that it has not sent.
#![cfg(feature = "real-services")]
#![allow(clippy::unwrap_used, reason = "a test ends at the first step that fails")]

mod harness;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use harness::load::{HttpLoad, KafkaLoad};
use harness::topic::Reader;
use harness::{Mesh, Service, stop_all, wait_all, wait_until};

const RATE: f64 = 200.0;
/// The session in the group. The process's own fence, which would end a replica that was paused, is set to ten times as
/// much: here the broker alone keeps the old owner out.
const SESSION: Duration = Duration::from_secs(6);
const PAUSES: usize = 4;

fn strict_mesh(name: &str, session: &str) -> Mesh {
    let mut mesh = Mesh::with_topics(name);
    mesh.set("FOREBAY__RESULTS__TRANSACTIONS", "true");
    mesh.set("FOREBAY__KAFKA__SESSION_TIMEOUT", session);
    mesh
}

/// One replica of each stage before publishing.
fn earlier_stages(mesh: &Mesh) -> Vec<Service> {
    ["ingestion", "preprocessing", "caching", "prediction"].map(|stage| mesh.start(stage)).into()
}

fn shares_the_work(publishing: &[Service]) {
    for replica in publishing {
        wait_until(Duration::from_secs(60), "each replica of publishing to have partitions", || {
            replica.metric("forebay_publishing_transactions_committed_total", &[]) > 0.0
        });
    }
}

fn aborted(replica: &Service) -> f64 {
    replica.metric("forebay_publishing_transactions_aborted_total", &[])
}

/// What a reader sees that does not ask for committed records: all of them, and how many are repeated.
fn uncommitted(mesh: &Mesh) -> (usize, usize) {
    let records = Reader::uncommitted_from_start(&mesh.topic("results_out")).rest(Duration::from_secs(3));
    let ids: HashSet<_> = records.iter().filter_map(|record| record.request_id()).collect();
    (records.len(), records.len() - ids.len())
}

#[test]
fn an_old_owner_that_wakes_up_is_kept_out() {
    let mut mesh = strict_mesh("strict", "60s");
    mesh.set("FOREBAY__KAFKA__OPTIONS__SESSION_TIMEOUT_MS", SESSION.as_millis().to_string());
    mesh.set("FOREBAY__KAFKA__OPTIONS__TRANSACTION_TIMEOUT_MS", "30000");
    // results wait for the next transaction, so that a replica that is paused has some to send
    mesh.set("FOREBAY__RESULTS__TRANSACTION_INTERVAL", "300ms");
    let mut services = earlier_stages(&mesh);
    let mut publishing = vec![mesh.start("publishing"), mesh.start("publishing")];
    wait_all(services.iter_mut().chain(&mut publishing));
    let load = KafkaLoad::start(&mesh, RATE, 0.3);
    shares_the_work(&publishing);
    for pause in 0..PAUSES {
        let replica = &mut publishing[pause % 2];
        let before = aborted(replica);
        replica.signal("STOP");
        std::thread::sleep(SESSION + Duration::from_secs(4));
        replica.signal("CONT");
        let woken = Instant::now();
        wait_until(Duration::from_secs(30), "the one that was paused to be in the group again", || replica.is_ready());
        std::thread::sleep(Duration::from_secs(3));
        assert_eq!(replica.exit_status(), None, "it ended by itself, so the broker has refused nothing");
        println!(
            "pause {pause}: {} transactions aborted, ready {:.1?} later",
            aborted(replica) - before,
            woken.elapsed()
        );
        shares_the_work(&publishing);
    }
    let refused: f64 = publishing.iter().map(aborted).sum();
    let findings = load.judge(Duration::from_secs(60), Duration::from_secs(5));
    let (all, repeated) = uncommitted(&mesh);
    println!("{refused} transactions aborted; uncommitted: {all} records, {repeated} of them repeated");
    assert!(findings.clean(), "{findings}");
    assert!(refused > 0.0 && repeated > 0, "no replica that was paused has tried to write");
    services.append(&mut publishing);
    stop_all(services);
}

#[test]
fn a_replica_that_is_killed_in_a_transaction_leaves_nothing_to_be_seen() {
    let mut mesh = strict_mesh("strictkill", "6s");
    mesh.set("FOREBAY__RESULTS__TRANSACTION_INTERVAL", "5ms");
    let mut services = earlier_stages(&mesh);
    let mut publishing = vec![mesh.start("publishing"), mesh.start("publishing")];
    wait_all(services.iter_mut().chain(&mut publishing));
    let load = KafkaLoad::start(&mesh, RATE, 0.3);
    // replies are no part of transactions; their offsets are
    let callers = HttpLoad::start(vec![services[0].http], 2, Duration::from_millis(40));
    shares_the_work(&publishing);
    for kill in 0..4 {
        let replica = &mut publishing[kill % 2];
        replica.kill();
        *replica = mesh.start("publishing");
        replica.wait_ready();
        std::thread::sleep(Duration::from_secs(8));
    }
    let called = callers.finish();
    let findings = load.judge(Duration::from_secs(60), Duration::from_secs(5));
    let (all, repeated) = uncommitted(&mesh);
    println!("uncommitted: {all} records, {repeated} of them repeated; {} calls over HTTP", called.answered);
    assert!(findings.clean(), "{findings}");
    assert!(called.wrong.is_empty(), "{:#?}", called.wrong);
    services.append(&mut publishing);
    stop_all(services);
}

#[test]
fn a_broker_that_is_killed_leaves_each_result_committed_once() {
    let mut mesh = strict_mesh("strictbroker", "10s");
    // the outage may take longer than the default of a minute on a busy machine, and then late requests are errors
    mesh.set("FOREBAY__DELIVERY__TIMEOUT", "4m");
    let mut services = mesh.start_all();
    let load = KafkaLoad::start(&mesh, RATE, 0.0);
    shares_the_work(&services[4..]);
    harness::native(&["kill", "kafka"]);
    harness::native(&["up", "kafka"]);
    services.iter_mut().for_each(|service| mesh.ready_again(service, Duration::from_secs(60)));
    std::thread::sleep(Duration::from_secs(5));
    let findings = load.judge(Duration::from_secs(90), Duration::from_secs(5));
    println!("{} transactions aborted", aborted(&services[4]));
    assert!(findings.clean(), "{findings}");
    stop_all(services);
}

#[test]
fn a_process_with_all_stages_refuses_transactions() {
    let mesh = strict_mesh("strictup", "10s");
    let output = mesh.run("forebay", &["up", "--kafka"], &[]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && text.contains("results.transactions"), "{:?}: {text}", output.status);
}

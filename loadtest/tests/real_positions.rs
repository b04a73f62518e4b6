//! What becomes of a source's positions when its topic changes: new partitions, removed records, a topic made again.
#![cfg(feature = "real-services")]
#![allow(clippy::unwrap_used, reason = "a test ends at the first step that fails")]

mod harness;

use std::time::{Duration, SystemTime};

use harness::load::KafkaLoad;
use harness::topic::{self, Out, Reader, Writer};
use harness::{Mesh, Service, row, stop_all, wait_until};

const SOON: Duration = Duration::from_secs(60);

fn request(name: &str, number: usize) -> String {
    format!(r#"{{"request_id":"{name}-{number}","features":{}}}"#, row(number))
}

/// Writes `count` requests to one partition.
fn write(mesh: &Mesh, partition: i32, name: &str, count: usize) {
    write_at(mesh, partition, name, count, 0);
}

/// Writes `count` requests from a client whose clock is `ahead_ms` milliseconds ahead.
fn write_at(mesh: &Mesh, partition: i32, name: &str, count: usize, ahead_ms: i64) {
    let (writer, topic) = (Writer::new(), mesh.topic("requests_in"));
    let timestamp_ms = Some(SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as i64 + ahead_ms);
    for number in 0..count {
        let body = request(name, number);
        let out =
            Out { topic: &topic, partition: Some(partition), payload: body.as_bytes(), timestamp_ms, ..Out::default() };
        writer.hand_over(out, number as u64);
    }
    writer.flush();
}

/// The request ids of all results, in order, duplicates included.
fn answered(results: &Reader, name: &str) -> Vec<String> {
    let all = results.rest(Duration::from_secs(4));
    let mut ids: Vec<String> = all.iter().filter_map(topic::Record::request_id).collect();
    ids.retain(|id| id.starts_with(name));
    ids.sort();
    ids
}

fn all_of(name: &str, numbers: std::ops::Range<usize>) -> Vec<String> {
    let mut ids: Vec<String> = numbers.map(|number| format!("{name}-{number}")).collect();
    ids.sort();
    ids
}

fn ingestion(services: &[Service]) -> &Service {
    services.iter().find(|service| service.name.contains("ingestion")).unwrap()
}

#[test]
fn requests_on_partitions_that_were_added_are_answered() {
    let mesh = Mesh::with_topics("partitions");
    let services = mesh.start_all();
    let load = KafkaLoad::start(&mesh, 50.0, 0.2);
    wait_until(SOON, "some load", || load.sent() > 50);
    topic::add_partitions(&mesh.topic("requests_in"), 8);
    // longer than it takes the group to learn of them
    std::thread::sleep(Duration::from_secs(35));
    let findings = load.judge(SOON, Duration::from_secs(2));
    assert!(findings.clean(), "{findings}");
    stop_all(services);
}

#[test]
fn removed_records_are_reported_and_the_others_answered() {
    let mesh = Mesh::with_topics("removed");
    let mut services = mesh.start_all();
    let results = Reader::from_now(&mesh.topic("results_out"));
    write(&mesh, 0, "before", 10);
    wait_until(SOON, "the first answers", || answered(&results, "before").len() == 10);
    let at = services.iter().position(|service| service.name.contains("ingestion")).unwrap();
    services.remove(at).stop();
    write(&mesh, 0, "away", 100);
    topic::delete_records(&mesh.topic("requests_in"), 0, 60);
    services.push(mesh.start("ingestion"));
    wait_until(SOON, "ingestion", || ingestion(&services).is_ready());
    let mut seen: Vec<String> = Vec::new();
    wait_until(SOON, "all answers", || {
        seen.extend(answered(&results, "away"));
        seen.len() >= 50
    });
    seen.sort();
    assert_eq!(seen, all_of("away", 50..100));
    wait_until(SOON, "the report", || {
        ingestion(&services).output().contains("records were removed before they were read")
    });
    let removed = ingestion(&services).metric("forebay_kafka_records_removed_unread_total", &[]);
    assert_eq!(removed.to_bits(), 50_f64.to_bits(), "{removed}");
    stop_all(services);
}

#[test]
fn requests_on_an_added_partition_are_answered_whatever_their_clients_clocks_say() {
    let mesh = Mesh::with_topics("behind");
    let services = mesh.start_all();
    let results = Reader::from_now(&mesh.topic("results_out"));
    write(&mesh, 0, "before", 5);
    wait_until(SOON, "the first answers", || answered(&results, "before").len() == 5);
    topic::add_partitions(&mesh.topic("requests_in"), 5);
    // the group has begun later than that
    write_at(&mesh, 4, "behind", 10, -3_600_000);
    let mut seen: Vec<String> = Vec::new();
    wait_until(SOON, "all answers", || {
        seen.extend(answered(&results, "behind"));
        seen.len() >= 10
    });
    assert_eq!(seen, all_of("behind", 0..10));
    stop_all(services);
}

#[test]
fn a_request_topic_that_is_made_again_and_has_grown_longer_is_read_from_its_beginning() {
    let mesh = Mesh::with_topics("longer");
    let services = mesh.start_all();
    let results = Reader::from_now(&mesh.topic("results_out"));
    write_at(&mesh, 0, "before", 20, 3_600_000);
    wait_until(SOON, "the first answers", || answered(&results, "before").len() == 20);
    let name = mesh.topic("requests_in");
    topic::delete(&name);
    topic::create(&name, 4, &[]);
    write(&mesh, 0, "after", 60);
    let mut seen: Vec<String> = Vec::new();
    wait_until(SOON, "all answers", || {
        seen.extend(answered(&results, "after"));
        seen.len() >= 60
    });
    seen.sort();
    assert_eq!(seen, all_of("after", 0..60));
    stop_all(services);
}

#[test]
fn a_request_topic_that_is_made_again_is_read_from_its_beginning() {
    let mesh = Mesh::with_topics("again");
    let services = mesh.start_all();
    let results = Reader::from_now(&mesh.topic("results_out"));
    write(&mesh, 0, "before", 20);
    wait_until(SOON, "the first answers", || answered(&results, "before").len() == 20);
    let name = mesh.topic("requests_in");
    topic::delete(&name);
    topic::create(&name, 4, &[]);
    write(&mesh, 0, "after", 5);
    write(&mesh, 1, "other", 5);
    let mut seen: Vec<String> = Vec::new();
    wait_until(SOON, "all answers", || {
        seen.extend(results.rest(Duration::from_secs(1)).iter().filter_map(topic::Record::request_id));
        seen.len() >= 10
    });
    seen.sort();
    assert_eq!(seen, [all_of("after", 0..5), all_of("other", 0..5)].concat());
    stop_all(services);
}

/// What the stages do not know any more they do again, and publishing finds in the result topic what was answered.
#[test]
fn offsets_that_have_expired_double_no_answer() {
    const GROUPS: [&str; 4] = ["forebay-preprocessing", "forebay-caching", "forebay-prediction", "forebay-publishing"];
    let mesh = Mesh::with_topics("expired");
    let services = mesh.start_all();
    let results = Reader::from_now(&mesh.topic("results_out"));
    (0..4).for_each(|partition| write(&mesh, partition, &format!("before{partition}"), 50));
    let mut before = Vec::new();
    wait_until(SOON, "the first answers", || {
        before.extend(answered(&results, "before"));
        before.len() >= 200
    });
    stop_all(services);
    topic::forget_groups(&GROUPS);
    topic::forget_groups(&[&mesh.outside_group()]);
    let services = mesh.start_all();
    (0..4).for_each(|partition| write(&mesh, partition, &format!("after{partition}"), 20));
    let mut after = Vec::new();
    wait_until(SOON, "the answers that follow", || {
        after.extend(results.rest(Duration::from_secs(4)).iter().filter_map(topic::Record::request_id));
        after.len() >= 80
    });
    after.extend(results.rest(Duration::from_secs(10)).iter().filter_map(topic::Record::request_id));
    after.sort();
    let mut wanted: Vec<String> = (0..4).flat_map(|partition| all_of(&format!("after{partition}"), 0..20)).collect();
    wanted.sort();
    assert_eq!(after, wanted, "and none of those before once more");
    let again = services.iter().find(|service| service.name.contains("publishing")).unwrap();
    let duplicates = again.metric("forebay_stage_duplicates_total", &["stage=\"publishing\""]);
    assert!(duplicates >= 200.0, "work was done again: {duplicates}");
    stop_all(services);
}

//! Starts without progress on the client library's mock broker: how they are noted, and what follows from them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use forebay_runtime::Lifecycle;

use super::*;
use crate::kafka::dead_letters::DeadLetters;
use crate::kafka::source::tests::{Group, LONG, TOPIC, cluster, next, produce_to, spec, start, start_with};
use crate::{EdgeEvents, NoEvents, Permits};

#[derive(Default)]
struct DeadLetterCount(AtomicU64);

impl EdgeEvents for DeadLetterCount {
    fn dead_letter(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_start_is_noted_until_there_is_progress() {
    let (cluster, lifecycle) = (cluster(), Lifecycle::new());
    let servers = cluster.bootstrap_servers();
    ["first", "second"].iter().for_each(|payload| produce_to(&servers, 0, payload));
    let group = Group::of(&servers, TOPIC);
    group.commit(0, "attempts=1");
    let (source, deliveries) = start(spec(&servers, &lifecycle, &Permits::new(1024)));
    let first = deliveries.recv_timeout(LONG).unwrap();
    group.wait_for(0, "attempts=2 upto=64", "alone");
    first.ack.ack();
    group.wait_for(first.payload.records.len() as i64, "read=", "attempts");
    source.close();
}

#[test]
fn a_source_that_leaves_in_order_takes_its_start_back() {
    let (cluster, lifecycle) = (cluster(), Lifecycle::new());
    let servers = cluster.bootstrap_servers();
    produce_to(&servers, 0, "first");
    let group = Group::of(&servers, TOPIC);
    group.commit(0, "attempts=1");
    let (source, deliveries) = start(spec(&servers, &lifecycle, &Permits::new(1024)));
    let _first = deliveries.recv_timeout(LONG).unwrap();
    group.wait_for(0, "attempts=2", "alone");
    source.close();
    group.wait_for(0, "attempts=1", "upto");
}

#[test]
fn items_are_taken_one_at_a_time_and_the_one_that_ends_its_process_is_a_dead_letter() {
    let (cluster, lifecycle) = (cluster(), Lifecycle::new());
    let (servers, letters) = (cluster.bootstrap_servers(), Arc::new(DeadLetterCount::default()));
    let group = Group::of(&servers, TOPIC);
    ["poison", "first", "second", "third"].iter().for_each(|payload| produce_to(&servers, 0, payload));
    group.commit(0, "attempts=3 upto=3 alone=0/2");
    let dead_letters = DeadLetters::logged("ingestion", Arc::clone(&letters) as Arc<dyn EdgeEvents>);
    let (source, deliveries) = start_with(spec(&servers, &lifecycle, &Permits::new(1024)), dead_letters);
    let first = deliveries.recv_timeout(LONG).unwrap();
    assert_eq!(letters.0.load(Ordering::Relaxed), 1);
    assert_eq!(first.payload.records.len(), 1);
    assert_eq!(&first.payload.records[0].payload[..], b"first");
    group.wait_for(1, "attempts=3 upto=3 alone=0/1", "x");
    assert!(deliveries.recv_timeout(Duration::from_millis(300)).is_err(), "the first item is still in work");
    first.ack.ack();
    assert_eq!(next(&deliveries), ["second"]);
    assert_eq!(next(&deliveries), ["third"]);
    group.wait_for(4, "read=", "attempts");
    source.close();
}

#[test]
fn a_partition_without_further_records_is_left_alone() {
    let (cluster, lifecycle) = (cluster(), Lifecycle::new());
    let servers = cluster.bootstrap_servers();
    let group = Group::of(&servers, TOPIC);
    group.commit(0, "attempts=3 upto=64");
    let events = DeadLetters::logged("ingestion", Arc::new(NoEvents));
    let (source, deliveries) = start_with(spec(&servers, &lifecycle, &Permits::new(1024)), events);
    // another partition waits no longer than it takes to see that there is nothing
    produce_to(&servers, 1, "other");
    assert_eq!(next(&deliveries), ["other"]);
    source.close();
}

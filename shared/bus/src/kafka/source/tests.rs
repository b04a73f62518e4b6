//! What counts as a stall of a source and what does not, on the client library's mock broker.

use std::sync::mpsc::{Receiver, Sender, channel};

use forebay_runtime::Lifecycle;
use forebay_testkit::wait_until;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};

use super::*;
use crate::kafka::record::RawBatch;
use crate::{Delivery, NoEvents};

const TOPIC: &str = "requests";
const BOUND: Duration = Duration::from_millis(600);
const LONG: Duration = Duration::from_secs(30);

fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 2, 1).unwrap();
    cluster
}

fn produce(servers: &str) {
    let mut config = ClientConfig::new();
    let producer: ThreadedProducer<DefaultProducerContext> = config.set("bootstrap.servers", servers).create().unwrap();
    producer.send(BaseRecord::<(), str>::to(TOPIC).payload("{}")).unwrap();
    producer.flush(LONG).unwrap();
}

fn watched() -> Lifecycle {
    let lifecycle = Lifecycle::new();
    lifecycle.watch_stalls(BOUND).unwrap();
    lifecycle
}

fn spec(servers: &str, lifecycle: &Lifecycle, permits: &Permits) -> SourceSpec {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", servers)
        .set("group.id", "group")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.offset.store", "false")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "100")
        .set("partition.assignment.strategy", "cooperative-sticky");
    SourceSpec {
        config,
        topic: TOPIC.into(),
        from_latest: false,
        permits: permits.clone(),
        events: Arc::new(NoEvents),
        heartbeat: lifecycle.heartbeat("kafka source requests"),
        on_assigned: Box::new(|_| ()),
        on_leaving: Box::new(|| ()),
        on_first: None,
    }
}

fn intake(take: impl Fn(Delivery<RawBatch>) + Send + 'static) -> impl Intake {
    RecordIntake { take, arena: bytes::BytesMut::new() }
}

/// A source that sends what it takes.
fn start(spec: SourceSpec) -> (Source, Receiver<Delivery<RawBatch>>) {
    let (taken, deliveries) = channel();
    let source = Source::start(spec, intake(move |delivery| drop(taken.send(delivery)))).unwrap();
    (source, deliveries)
}

#[track_caller]
fn stays_alive(lifecycle: &Lifecycle, time: Duration) {
    let deadline = Instant::now() + time;
    while Instant::now() < deadline {
        assert_eq!(lifecycle.stalled(), [""; 0]);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Blocks its caller until the sender is dropped.
fn gate() -> (Sender<()>, Receiver<()>) {
    channel()
}

#[test]
fn a_source_thread_that_hangs_fails_liveness_until_it_goes_on() {
    let (cluster, lifecycle) = (cluster(), watched());
    let (open, gate) = gate();
    let hangs = intake(move |delivery: Delivery<RawBatch>| {
        _ = gate.recv();
        delivery.ack.ack();
    });
    let source = Source::start(spec(&cluster.bootstrap_servers(), &lifecycle, &Permits::new(1024)), hangs).unwrap();
    stays_alive(&lifecycle, BOUND * 2);
    produce(&cluster.bootstrap_servers());
    wait_until(LONG, "the stall", || lifecycle.stalled() == ["kafka source requests"]);
    drop(open);
    wait_until(LONG, "the recovery", || lifecycle.is_alive());
    source.close();
}

#[test]
fn a_source_without_permits_or_without_a_broker_is_alive() {
    let (cluster, lifecycle) = (cluster(), watched());
    let permits = Permits::new(MAX_IN_HAND);
    let held = permits.try_take(1).unwrap();
    let (full, deliveries) = start(spec(&cluster.bootstrap_servers(), &lifecycle, &permits));
    // no server listens on this port
    let (lost, _) = start(spec("127.0.0.1:1", &lifecycle, &Permits::new(MAX_IN_HAND)));
    produce(&cluster.bootstrap_servers());
    stays_alive(&lifecycle, BOUND * 4);
    assert!(deliveries.try_recv().is_err(), "there was no permit for it");
    drop(held);
    deliveries.recv_timeout(LONG).unwrap().ack.ack();
    full.close();
    lost.close();
}

/// What a round reserves.
const MAX_IN_HAND: usize = forebay_contract::MAX_BATCH_ITEMS;

#[test]
fn a_revocation_that_waits_is_alive() {
    let (cluster, lifecycle) = (cluster(), watched());
    let servers = cluster.bootstrap_servers();
    let (assigned, arrived) = channel();
    let (leaving, left) = channel();
    let mut waits = spec(&servers, &lifecycle, &Permits::new(1024));
    waits.on_assigned = Box::new(move |partitions: &[i32]| _ = assigned.send(partitions.len()));
    waits.on_leaving = Box::new(move || {
        std::thread::sleep(BOUND * 3);
        _ = leaving.send(());
    });
    let (first, _deliveries) = start(waits);
    wait_until(LONG, "the partitions", || arrived.try_iter().last() == Some(2));
    // half of them go to the second member of the group
    let (second, _others) = start(spec(&servers, &lifecycle, &Permits::new(1024)));
    let mut waited = false;
    wait_until(LONG, "the revocation", || {
        assert_eq!(lifecycle.stalled(), [""; 0]);
        waited = waited || left.try_recv().is_ok();
        waited
    });
    stays_alive(&lifecycle, BOUND);
    second.close();
    first.close();
}

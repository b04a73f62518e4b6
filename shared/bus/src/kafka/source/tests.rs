//! Sources on the client library's mock broker: what counts as a stall, and how partitions, positions and clients change.

use std::sync::mpsc::{Receiver, Sender, channel};

use forebay_runtime::Lifecycle;
use forebay_testkit::wait_until;
use rdkafka::consumer::CommitMode;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use super::*;
use crate::ack::RequestRecord;
use crate::kafka::dead_letters::DeadLetters;
use crate::kafka::producer::SendBarrier;
use crate::kafka::record::{RawBatch, RawRecord};
use crate::{Delivery, NoEvents, Permits};

pub(super) const TOPIC: &str = "requests";
const BOUND: Duration = Duration::from_millis(600);
pub(super) const LONG: Duration = Duration::from_secs(30);

pub(super) fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 2, 1).unwrap();
    cluster
}

fn produce(servers: &str) {
    produce_to(servers, 0, "{}");
}

pub(super) fn produce_to(servers: &str, partition: i32, payload: &str) {
    let mut config = ClientConfig::new();
    let producer: ThreadedProducer<DefaultProducerContext> = config.set("bootstrap.servers", servers).create().unwrap();
    producer.send(BaseRecord::<(), str>::to(TOPIC).partition(partition).payload(payload)).unwrap();
    producer.flush(LONG).unwrap();
}

fn watched() -> Lifecycle {
    let lifecycle = Lifecycle::new();
    lifecycle.watch_stalls(BOUND).unwrap();
    lifecycle
}

pub(super) fn spec(servers: &str, lifecycle: &Lifecycle, permits: &Permits) -> SourceSpec {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", servers)
        .set("group.id", "group")
        .set("auto.offset.reset", "error")
        .set("enable.auto.offset.store", "false")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "100")
        .set("partition.assignment.strategy", "cooperative-sticky");
    SourceSpec {
        config,
        topics: SourceTopics::one(TOPIC),
        from_latest: false,
        of_clients: false,
        permits: permits.clone().into(),
        events: Arc::new(NoEvents),
        dead_letters: DeadLetters::logged("test", Arc::new(NoEvents)),
        heartbeat: lifecycle.heartbeat("kafka source requests"),
        dead_client: DeadClientCheck::dead_when(&Arc::default()),
        revoke_budget: RevokeBudget::of_work(Duration::from_millis(800)),
        pace: IntakePace::default(),
        on_assigned: Arc::new(|_| ()),
        on_leaving: Arc::new(|| ()),
        on_first: None,
        commits: None,
        held_back_after: Duration::from_secs(60),
    }
}

fn intake(take: impl Fn(Delivery<RawBatch>) + Send + 'static) -> impl Intake {
    let dead_letters = DeadLetters::logged("ingestion", Arc::new(NoEvents));
    RecordIntake { topics: SourceTopics::one(TOPIC), take, arena: bytes::BytesMut::new(), dead_letters, max_rows: 1 }
}

/// A source that sends what it takes, with its dead letters.
pub(super) fn start_with(spec: SourceSpec, dead_letters: DeadLetters) -> (Source, Receiver<Delivery<RawBatch>>) {
    let (taken, deliveries) = channel();
    let take = move |delivery| drop(taken.send(delivery));
    let (topics, arena) = (spec.topics.clone(), bytes::BytesMut::new());
    let intake = RecordIntake { topics, take, arena, dead_letters, max_rows: 1 };
    (Source::start(spec, intake).unwrap(), deliveries)
}

/// A source that sends what it takes.
pub(super) fn start(spec: SourceSpec) -> (Source, Receiver<Delivery<RawBatch>>) {
    start_with(spec, DeadLetters::logged("ingestion", Arc::new(NoEvents)))
}

/// A source that has both partitions, what it takes, and when partitions leave.
fn start_with_both(mut spec: SourceSpec) -> (Source, Receiver<Delivery<RawBatch>>, Receiver<()>) {
    let (assigned, arrived) = channel();
    spec.on_assigned = Arc::new(move |partitions: &[i32]| _ = assigned.send(partitions.len()));
    let (leaving, left) = channel();
    spec.on_leaving = Arc::new(move || _ = leaving.send(()));
    let (source, deliveries) = start(spec);
    wait_until(LONG, "the partitions", || arrived.try_iter().last() == Some(2));
    (source, deliveries, left)
}

/// The group's committed offset in partition 0 of a topic, and its metadata.
pub(super) struct Group {
    consumer: BaseConsumer,
    topic: String,
}

impl Group {
    pub(super) fn of(servers: &str, topic: &str) -> Self {
        let mut config = ClientConfig::new();
        let consumer = config.set("bootstrap.servers", servers).set("group.id", "group").create().unwrap();
        Self { consumer, topic: topic.to_owned() }
    }

    pub(super) fn commit(&self, offset: i64, metadata: &str) {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, 0).set_metadata(metadata);
        list.set_partition_offset(&self.topic, 0, Offset::Offset(offset)).unwrap();
        self.consumer.commit(&list, CommitMode::Sync).unwrap();
    }

    pub(super) fn committed(&self) -> (Offset, String) {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, 0);
        let list = self.consumer.committed_offsets(list, LONG).unwrap();
        let element = list.find_partition(&self.topic, 0).unwrap();
        (element.offset(), element.metadata().to_owned())
    }

    pub(super) fn wait_for(&self, offset: i64, contains: &str, without: &str) {
        wait_until(LONG, contains, || {
            let (committed, metadata) = self.committed();
            committed == Offset::Offset(offset) && metadata.contains(contains) && !metadata.contains(without)
        });
    }
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

#[test]
fn a_source_waits_while_the_records_in_flight_have_too_many_bytes() {
    let (cluster, lifecycle) = (cluster(), watched());
    let servers = cluster.bootstrap_servers();
    for _ in 0..6 {
        produce_to(&servers, 0, &"0,".repeat(50_000));
    }
    let permits = Permits::with_bytes(1024, 500_000);
    let (source, deliveries) = start(spec(&servers, &lifecycle, &permits));
    let mut taken = 0;
    while taken < 6 {
        let delivery = deliveries.recv_timeout(LONG).unwrap();
        let records = delivery.payload.records.len();
        assert!((1..=3).contains(&records), "a round ends with what is too large: {records} records");
        assert_eq!(permits.bytes_in_use(), records as u64 * (10 * 100_000 + 512));
        stays_alive(&lifecycle, BOUND * 2);
        assert!(deliveries.try_recv().is_err(), "there was no room for it");
        taken += records;
        delivery.ack.ack();
    }
    source.close();
    assert_eq!((taken, permits.in_use(), permits.bytes_in_use()), (6, 0, 0));
}

#[test]
fn keys_and_headers_count_as_well() {
    let (cluster, lifecycle) = (cluster(), watched());
    let servers = cluster.bootstrap_servers();
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &servers).create().unwrap();
    let value = vec![b'x'; 50_000];
    let headers = OwnedHeaders::new().insert(Header { key: "name", value: Some(&value) });
    producer.send(BaseRecord::to(TOPIC).partition(0).key(&value).payload("0").headers(headers)).unwrap();
    producer.flush(LONG).unwrap();
    let permits = Permits::with_bytes(1024, 500_000);
    let (source, deliveries) = start(spec(&servers, &lifecycle, &permits));
    let delivery = deliveries.recv_timeout(LONG).unwrap();
    assert_eq!(permits.bytes_in_use(), 10 + 512 + 50_000 + 128 + 4 + 50_000);
    delivery.ack.ack();
    source.close();
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
    waits.on_assigned = Arc::new(move |partitions: &[i32]| _ = assigned.send(partitions.len()));
    waits.on_leaving = Arc::new(move || {
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

/// Counts replaced clients.
#[derive(Default)]
pub(super) struct Replaced(pub(super) AtomicU64);

impl EdgeEvents for Replaced {
    fn client_replaced(&self, _: &'static str) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The payloads of the next delivery, which is acknowledged.
pub(super) fn next(deliveries: &Receiver<Delivery<RawBatch>>) -> Vec<String> {
    let delivery = deliveries.recv_timeout(LONG).unwrap();
    let texts = delivery.payload.records.iter().map(|record| String::from_utf8_lossy(&record.payload).into_owned());
    let texts = texts.collect();
    delivery.ack.ack();
    texts
}

#[test]
fn a_dead_client_is_replaced_and_unfinished_work_is_read_again() {
    let (cluster, lifecycle) = (cluster(), watched());
    let servers = cluster.bootstrap_servers();
    let replaced = Arc::new(Replaced::default());
    let mut spec = spec(&servers, &lifecycle, &Permits::new(1024));
    spec.events = Arc::clone(&replaced) as Arc<dyn EdgeEvents>;
    let dies = Arc::new(AtomicBool::new(false));
    spec.dead_client = DeadClientCheck::dead_when(&dies);
    let (source, deliveries) = start(spec);
    produce_to(&servers, 0, "finished");
    assert_eq!(next(&deliveries), ["finished"]);
    // committed by now, or read twice
    std::thread::sleep(Duration::from_millis(200));
    produce_to(&servers, 0, "unfinished");
    let unfinished = deliveries.recv_timeout(LONG).unwrap();
    dies.store(true, Ordering::Release);
    wait_until(LONG, "the replacement", || replaced.0.load(Ordering::Relaxed) == 1);
    let again = next(&deliveries);
    assert_eq!(again.last().map(String::as_str), Some("unfinished"), "{again:?}");
    // an answer to the lost client's work changes nothing
    unfinished.ack.ack();
    produce_to(&servers, 1, "new");
    assert_eq!(next(&deliveries), ["new"]);
    source.close();
}

#[test]
fn a_position_that_is_gone_is_looked_up_and_reading_continues() {
    let (cluster, lifecycle) = (cluster(), watched());
    let servers = cluster.bootstrap_servers();
    let (source, deliveries) = start(spec(&servers, &lifecycle, &Permits::new(1024)));
    produce_to(&servers, 0, "first");
    assert_eq!(next(&deliveries), ["first"]);
    let gone = rdkafka::types::RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE;
    cluster.request_errors(rdkafka::types::RDKafkaApiKey::Fetch, &[gone, gone]);
    std::thread::sleep(BOUND);
    produce_to(&servers, 0, "second");
    assert_eq!(next(&deliveries), ["second"]);
    source.close();
}

#[test]
fn partitions_leave_when_their_work_is_done() {
    let (cluster, lifecycle) = (cluster(), watched());
    let servers = cluster.bootstrap_servers();
    let mut keeps = spec(&servers, &lifecycle, &Permits::new(1024));
    keeps.revoke_budget = RevokeBudget::of_work(LONG);
    let (first, deliveries, left) = start_with_both(keeps);
    let unfinished = [0, 1].map(|partition| {
        produce_to(&servers, partition, "slow");
        deliveries.recv_timeout(LONG).unwrap()
    });
    let (second, others) = start(spec(&servers, &lifecycle, &Permits::new(1024)));
    // the new member waits for the work; which partition is to leave is the group's choice
    left.recv_timeout(LONG).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(others.try_iter().count(), 0, "taken over before its work was done");
    unfinished.into_iter().for_each(|delivery| delivery.ack.ack());
    [0, 1].iter().for_each(|partition| produce_to(&servers, *partition, &format!("new {partition}")));
    let (kept, mut taken_over) = (next(&deliveries), next(&others));
    // unlike a broker, the mock may refuse the commit while it waits for the members, so that the record is read again
    taken_over.retain(|value| value != "slow");
    assert!(kept.len() == 1 && taken_over.len() == 1 && kept != taken_over, "{kept:?} {taken_over:?}");
    second.close();
    first.close();
}

#[test]
fn work_that_is_late_has_left_and_its_partition_follows_when_what_was_sent_is_settled() {
    let (cluster, lifecycle) = (cluster(), watched());
    let servers = cluster.bootstrap_servers();
    let (mut keeps, barrier) = (spec(&servers, &lifecycle, &Permits::new(1024)), SendBarrier::default());
    let work = Duration::from_millis(300);
    keeps.revoke_budget = RevokeBudget { work, sends: LONG, barrier: barrier.clone() };
    let (first, deliveries, left) = start_with_both(keeps);
    let late = [0, 1].map(|partition| {
        produce_to(&servers, partition, "late");
        (partition, deliveries.recv_timeout(LONG).unwrap())
    });
    let has_left = || {
        let left = |(partition, delivery): &(i32, Delivery<RawBatch>)| {
            let RawRecord { offset, .. } = delivery.payload.records[0];
            let record = RequestRecord { partition: partition.unsigned_abs(), offset };
            assert!(!delivery.ack.has_left(Some(RequestRecord { offset: offset + 1, ..record })));
            assert_eq!(delivery.ack.has_left(Some(record)), delivery.ack.has_left(None));
            delivery.ack.has_left(None)
        };
        late.iter().filter(|one| left(one)).count()
    };
    let sent = barrier.pass();
    let (second, others) = start(spec(&servers, &lifecycle, &Permits::new(1024)));
    left.recv_timeout(LONG).unwrap();
    assert_eq!(has_left(), 0);
    wait_until(LONG, "the end of the work's time", || has_left() == 1);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(others.try_iter().count(), 0, "taken over before what was sent is settled");
    drop(sent);
    assert_eq!(next(&others), ["late"]);
    assert!(lifecycle.is_alive());
    second.close();
    first.close();
}

#[test]
fn a_partition_that_comes_back_is_read() {
    let (cluster, lifecycle) = (cluster(), watched());
    let servers = cluster.bootstrap_servers();
    let mut stays = spec(&servers, &lifecycle, &Permits::new(1024));
    let (assigned, arrived) = channel();
    stays.on_assigned = Arc::new(move |partitions: &[i32]| _ = assigned.send(partitions.len()));
    let (first, deliveries) = start(stays);
    let has = |count| wait_until(LONG, "the partitions", || arrived.try_iter().last() == Some(count));
    has(2);
    let (second, _others) = start(spec(&servers, &lifecycle, &Permits::new(1024)));
    has(1);
    second.close();
    has(2);
    (0..2).for_each(|partition| produce_to(&servers, partition, &format!("to {partition}")));
    let mut read = next(&deliveries);
    if read.len() < 2 {
        read.extend(next(&deliveries));
    }
    read.sort_unstable();
    assert_eq!(read, ["to 0", "to 1"]);
    first.close();
}

/// Whether the source is ready, as it has reported.
#[derive(Default)]
struct Readiness(std::sync::Mutex<Option<String>>);

impl EdgeEvents for Readiness {
    fn ready(&self) {
        *self.0.lock().unwrap() = None;
    }

    fn unready(&self, why: &str) {
        *self.0.lock().unwrap() = Some(why.to_owned());
    }
}

#[test]
fn a_partition_whose_oldest_work_does_not_end_is_held_back_and_the_others_flow() {
    let (cluster, lifecycle) = (cluster(), watched());
    let (servers, events) = (cluster.bootstrap_servers(), Arc::new(Readiness::default()));
    let mut holds = spec(&servers, &lifecycle, &Permits::new(2048));
    holds.held_back_after = BOUND;
    holds.events = Arc::clone(&events) as Arc<dyn EdgeEvents>;
    let (source, deliveries) = start(holds);
    produce_to(&servers, 0, "{}");
    let stuck = deliveries.recv_timeout(LONG).unwrap();
    wait_until(LONG, "the hold", || events.0.lock().unwrap().as_ref().is_some_and(|why| why.contains("[0]")));
    produce_to(&servers, 0, "{}");
    for _ in 0..3 {
        produce_to(&servers, 1, "{}");
        let other = deliveries.recv_timeout(LONG).unwrap();
        assert_eq!(other.payload.records[0].partition, 1);
        other.ack.ack();
    }
    stuck.ack.ack();
    let next = deliveries.recv_timeout(LONG).unwrap();
    assert_eq!((next.payload.records[0].partition, next.payload.records[0].offset), (0, 1));
    next.ack.ack();
    wait_until(LONG, "readiness", || events.0.lock().unwrap().is_none());
    source.close();
}

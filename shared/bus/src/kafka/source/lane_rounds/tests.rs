//! Lanes on the client library's mock broker.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, channel};

use forebay_contract::Lane;
use forebay_runtime::Lifecycle;
use forebay_testkit::wait_until;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset};

use super::*;
use crate::kafka::broker_contact::DeadClientCheck;
use crate::kafka::client::INSTANCE;
use crate::kafka::dead_letters::DeadLetters;
use crate::kafka::record::RawBatch;
use crate::kafka::source::tests::{Group, LONG, Replaced, TOPIC, cluster, spec, start, start_with};
use crate::kafka::source::{SourceSpec, SourceTopics};
use crate::permits::StagePermits;
use crate::{Delivery, EdgeEvents, Permits};

/// A broker with two partitions of the normal lane and one of each other, and a producer.
struct Bench {
    cluster: MockCluster<'static, DefaultProducerContext>,
    servers: String,
    lifecycle: Lifecycle,
    producer: ThreadedProducer<DefaultProducerContext>,
}

fn bench() -> Bench {
    let cluster = cluster();
    [Lane::High, Lane::Low].iter().for_each(|lane| cluster.create_topic(&lane.topic(TOPIC), 1, 1).unwrap());
    let servers = cluster.bootstrap_servers();
    let producer = ClientConfig::new().set("bootstrap.servers", &servers).create().unwrap();
    Bench { cluster, servers, lifecycle: Lifecycle::new(), producer }
}

impl Bench {
    fn spec(&self) -> SourceSpec {
        let mut spec = spec(&self.servers, &self.lifecycle, &Permits::new(1));
        (spec.topics, spec.permits) = (SourceTopics::lanes(TOPIC), StagePermits::by_lane(2048, u64::MAX));
        spec
    }

    fn write(&self, lane: Lane, partition: i32, payload: &str) {
        let topic = lane.topic(TOPIC);
        self.producer.send(BaseRecord::<(), str>::to(&topic).partition(partition).payload(payload)).unwrap();
    }

    fn write_all(&self, round: &str) -> Vec<String> {
        let places = [(Lane::High, 0), (Lane::Low, 0), (Lane::Normal, 0), (Lane::Normal, 1)];
        let payload = |(lane, partition): (Lane, i32)| format!("{round} {} {partition}", lane.name());
        places.iter().for_each(|place| self.write(place.0, place.1, &payload(*place)));
        self.producer.flush(LONG).unwrap();
        places.map(payload).into()
    }
}

/// The lanes and payloads of the next `records` records, which are acknowledged, in order of their payloads.
fn read(deliveries: &[&Receiver<Delivery<RawBatch>>], records: usize) -> Vec<(Lane, String)> {
    let mut read = Vec::new();
    wait_until(LONG, "the records", || {
        for delivery in deliveries.iter().flat_map(|deliveries| deliveries.try_iter()) {
            let RawBatch { lane, records, .. } = &delivery.payload;
            read.extend(records.iter().map(|it| (*lane, String::from_utf8_lossy(&it.payload).into_owned())));
            delivery.ack.ack();
        }
        read.len() >= records
    });
    read.sort_by(|one, other| one.1.cmp(&other.1));
    read
}

fn payloads(read: Vec<(Lane, String)>) -> Vec<String> {
    assert!(read.iter().all(|(lane, payload)| payload.contains(lane.name())), "{read:?}");
    read.into_iter().map(|(_, payload)| payload).collect()
}

#[test]
fn a_high_record_does_not_wait_for_a_backlog_of_low_ones() {
    let bench = bench();
    (0..2_000).for_each(|_| bench.write(Lane::Low, 0, "{}"));
    bench.producer.flush(LONG).unwrap();
    let (source, deliveries) = start(bench.spec());
    // what is not done holds the permits of its lane, and no others
    let mut open = vec![deliveries.recv_timeout(LONG).unwrap()];
    open.extend(std::iter::from_fn(|| deliveries.recv_timeout(Duration::from_secs(1)).ok()));
    let held: usize = open.iter().map(|delivery| delivery.payload.records.len()).sum();
    assert!(open.iter().all(|delivery| delivery.payload.lane == Lane::Low) && (256..=512).contains(&held), "{held}");
    for lane in [Lane::High, Lane::Normal] {
        bench.write(lane, 0, "{}");
        let delivery = deliveries.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!((delivery.payload.lane, delivery.payload.records.len()), (lane, 1));
        delivery.ack.ack();
    }
    open.into_iter().for_each(|delivery| delivery.ack.ack());
    let mut read = held;
    while read < 2_000 {
        let delivery = deliveries.recv_timeout(LONG).unwrap();
        read += delivery.payload.records.len();
        delivery.ack.ack();
    }
    assert_eq!(read, 2_000, "each once");
    source.close();
}

#[test]
fn work_that_fails_is_read_again_on_its_lane() {
    let bench = bench();
    let (source, deliveries) = start(bench.spec());
    bench.write(Lane::Low, 0, "a");
    for failing in [true, false] {
        let delivery = deliveries.recv_timeout(LONG).unwrap();
        let record = &delivery.payload.records[0];
        assert_eq!((delivery.payload.lane, record.offset, &record.payload[..]), (Lane::Low, 0, &b"a"[..]));
        if failing { delivery.ack.nack() } else { delivery.ack.ack() }
    }
    source.close();
}

#[test]
fn partitions_of_lanes_come_and_go() {
    let bench = bench();
    let (assigned, arrived) = channel();
    let mut stays = bench.spec();
    stays.on_assigned = Arc::new(move |partitions: &[i32]| _ = assigned.send(partitions.to_vec()));
    let (first, deliveries) = start(stays);
    let one = bench.write_all("one");
    assert_eq!(payloads(read(&[&deliveries], 4)), one);
    assert_eq!(arrived.try_iter().last(), Some(vec![0, 1]), "by their numbers, whatever their lane");
    let (second, others) = start(bench.spec());
    wait_until(LONG, "the new member's partitions", || {
        bench.write_all("between");
        deliveries.try_iter().for_each(|delivery| delivery.ack.ack());
        others.try_iter().map(|delivery| delivery.ack.ack()).count() > 0
    });
    // what was not committed when the partitions moved comes once more, before what is written later
    let only = |start: &str, members: &[&Receiver<_>]| {
        let mut found = Vec::new();
        wait_until(LONG, "the records of all members", || {
            let read = payloads(read(members, 0)).into_iter();
            found.extend(read.filter(|payload| payload.starts_with(start)));
            found.len() >= 4
        });
        found.sort();
        found
    };
    let two = bench.write_all("two");
    assert_eq!(only("two", &[&deliveries, &others]), two, "each once");
    second.close();
    let three = bench.write_all("three");
    assert_eq!(only("three", &[&deliveries]), three);
    first.close();
}

#[test]
fn a_position_that_is_gone_is_looked_up_in_every_lane() {
    let bench = bench();
    let (source, deliveries) = start(bench.spec());
    let one = bench.write_all("one");
    assert_eq!(payloads(read(&[&deliveries], 4)), one);
    let gone = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE;
    bench.cluster.request_errors(RDKafkaApiKey::Fetch, &[gone, gone]);
    std::thread::sleep(Duration::from_millis(600));
    let two = bench.write_all("two");
    assert_eq!(payloads(read(&[&deliveries], 4)), two);
    source.close();
}

#[test]
fn a_dead_client_of_lanes_is_replaced() {
    let (bench, dies, replaced) = (bench(), Arc::default(), Arc::new(Replaced::default()));
    let mut mortal = bench.spec();
    mortal.dead_client = DeadClientCheck::dead_when(&dies);
    mortal.events = Arc::clone(&replaced) as Arc<dyn EdgeEvents>;
    let (source, deliveries) = start(mortal);
    let one = bench.write_all("one");
    assert_eq!(payloads(read(&[&deliveries], 4)), one);
    dies.store(true, Ordering::Release);
    wait_until(LONG, "the replacement", || replaced.0.load(Ordering::Relaxed) == 1);
    let (two, mut seen) = (bench.write_all("two"), Vec::new());
    wait_until(LONG, "the new client's records", || {
        // what was not committed yet comes once more
        seen.extend(payloads(read(&[&deliveries], 0)).into_iter().filter(|payload| payload.starts_with("two")));
        seen.len() >= 4
    });
    seen.sort();
    assert_eq!(seen, two);
    source.close();
}

#[test]
fn a_process_with_a_name_leaves_its_lanes_to_its_successor() {
    let bench = bench();
    for round in ["one", "two"] {
        let mut named = bench.spec();
        named.config.set(INSTANCE, "a-requests");
        let (source, deliveries) = start(named);
        let written = bench.write_all(round);
        assert_eq!(payloads(read(&[&deliveries], 4)), written);
        source.close();
    }
}

#[test]
fn a_start_is_noted_on_the_lane_until_there_is_progress() {
    let bench = bench();
    bench.write(Lane::Low, 0, "low");
    bench.producer.flush(LONG).unwrap();
    let (low, normal) = (Group::of(&bench.servers, &Lane::Low.topic(TOPIC)), Group::of(&bench.servers, TOPIC));
    low.commit(0, "attempts=1");
    let (source, deliveries) = start(bench.spec());
    let delivery = deliveries.recv_timeout(LONG).unwrap();
    low.wait_for(0, "attempts=2 upto=64", "alone");
    delivery.ack.ack();
    low.wait_for(1, "read=", "attempts");
    assert_eq!(normal.committed().0, Offset::Invalid);
    source.close();
}

/// Counts dead letters.
#[derive(Default)]
struct DeadLetterCount(AtomicU64);

impl EdgeEvents for DeadLetterCount {
    fn dead_letter(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn an_item_that_ends_its_process_is_found_on_its_lane() {
    let bench = bench();
    ["poison", "low beside it", "low later"].iter().for_each(|payload| bench.write(Lane::Low, 0, payload));
    bench.write(Lane::High, 0, "high");
    bench.producer.flush(LONG).unwrap();
    let low = Group::of(&bench.servers, &Lane::Low.topic(TOPIC));
    low.commit(0, "attempts=3 upto=2 alone=0/2");
    let letters = Arc::new(DeadLetterCount::default());
    let dead_letters = DeadLetters::logged("ingestion", Arc::clone(&letters) as Arc<dyn EdgeEvents>);
    let (source, deliveries) = start_with(bench.spec(), dead_letters);
    let alone = deliveries.recv_timeout(LONG).unwrap();
    assert_eq!(letters.0.load(Ordering::Relaxed), 1);
    let texts: Vec<&[u8]> = alone.payload.records.iter().map(|record| &record.payload[..]).collect();
    assert_eq!((alone.payload.lane, texts), (Lane::Low, vec![&b"low beside it"[..]]));
    low.wait_for(1, "attempts=3 upto=2 alone=0/1", "x");
    assert!(deliveries.recv_timeout(Duration::from_millis(300)).is_err(), "nothing beside it, of no lane");
    alone.ack.ack();
    assert_eq!(payloads(read(&[&deliveries], 2)), ["high", "low later"]);
    low.wait_for(3, "read=", "attempts");
    source.close();
}

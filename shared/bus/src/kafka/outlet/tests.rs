//! What becomes of records that a topic does not take, on the client library's mock broker.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use forebay_contract::wire::outcome::Result as RowResult;
use forebay_contract::{Answer, ErrorCode, Request, Score};
use forebay_runtime::Lifecycle;
use forebay_testkit::{context, settings, wait_until};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::OwnedMessage;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::*;
use crate::kafka::Client;
use crate::kafka::record::RawRecord;
use crate::{BusSettings, NoEvents};

const TOPIC: &str = "topic";
const LETTERS: &str = "letters";
/// The broker with the topic. The other one has the dead letters.
const LEADER: i32 = 2;
const SOON: Duration = Duration::from_secs(20);
/// Longer than any letter takes.
const WINDOW: Duration = Duration::from_secs(120);
const TOO_LARGE: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE;
/// How often a record that cannot be divided is sent before its refusal is believed.
const TRIES: usize = 5;

struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
    sink: RecordSink,
}

impl Broker {
    fn start(options: &[&str]) -> Self {
        let cluster = MockCluster::new(2).unwrap();
        for (topic, leader) in [(TOPIC, LEADER), (LETTERS, 1)] {
            cluster.create_topic(topic, 1, 1).unwrap();
            cluster.partition_leader(topic, 0, Some(leader)).unwrap();
        }
        let brokers = format!("kafka.brokers={}", cluster.bootstrap_servers());
        let flags: Vec<&str> = std::iter::once(brokers.as_str()).chain(options.iter().copied()).collect();
        let client = Client::new(&settings(&[]).flags(&flags).read(BusSettings::read).unwrap().kafka, "test");
        let heartbeats = [(); 2].map(|()| Lifecycle::new().heartbeat("test"));
        let config = client.producer();
        let sink = RecordSink::open(client, config, Arc::new(NoEvents), heartbeats, |_| Counter::default()).unwrap();
        Self { cluster, sink }
    }

    /// The broker answers the next `times` requests to write with `error`.
    fn refuse(&self, error: RDKafkaRespErr, times: usize) {
        self.cluster.request_errors(RDKafkaApiKey::Produce, &vec![error; times]);
    }

    fn outlet<P: Message + Default + 'static>(&self, fallback: Fallback) -> Outlet<P> {
        let dead_letters =
            DeadLetters::to_topic("test", "group", self.sink.clone(), LETTERS, WINDOW, Arc::new(NoEvents));
        let outlet = KafkaOutlet {
            sink: self.sink.clone(),
            topic: TOPIC.into(),
            partitioning: Partitioning::Batch,
            tracer: settings(&[]).host().telemetry().stage("test"),
            span_name: "send".into(),
            counter: Counter::default(),
            fallback,
            dead_letters,
        };
        outlet.into_outlet()
    }

    /// The first `count` records of `topic`.
    fn read(&self, topic: &str, count: usize) -> Vec<OwnedMessage> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.cluster.bootstrap_servers()).set("group.id", "test");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        let deadline = Instant::now() + SOON;
        let mut read = Vec::new();
        while read.len() < count {
            assert!(Instant::now() < deadline, "{} of {count} records on {topic}", read.len());
            read.extend(consumer.poll(Duration::from_millis(50)).map(|record| record.unwrap().detach()));
        }
        read
    }

    fn held(&self, topic: &str) -> i64 {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.cluster.bootstrap_servers()).set("group.id", "test");
        let consumer: BaseConsumer = config.create().unwrap();
        let (low, high) = consumer.fetch_watermarks(topic, 0, SOON).unwrap();
        high - low
    }

    fn batches<P: Message + Default>(&self, count: usize) -> Vec<Batch<P>> {
        let decoded = |record: OwnedMessage| decode(record.payload().unwrap().to_vec()).unwrap();
        self.read(TOPIC, count).into_iter().map(decoded).collect()
    }
}

fn rows<P>(batch: &Batch<P>) -> Vec<u32> {
    batch.items.iter().map(|item| item.context.row()).collect()
}

fn batch<P: Clone>(payload: P, count: u32) -> Batch<P> {
    let items = (0..count).map(|row| context().row(row, count).item(payload.clone())).collect();
    Batch { batch_partition: 0, stages: Vec::new(), items }
}

fn classes(count: usize) -> Outcome {
    let score = Score { value: 1.0, label: None, probabilities: vec![0.5; count], ..Score::default() };
    Answer { score: Some(score), ..Answer::default() }.into()
}

fn ack() -> (Ack, Receiver<AckOutcome>) {
    let (ended, end) = std::sync::mpsc::channel();
    (Ack::new(move |outcome| ended.send(outcome).unwrap_or_default()), end)
}

/// Results, acknowledged at once.
fn results() -> (Outlet<Outcome>, Receiver<Batch<Outcome>>) {
    let (sent, taken) = std::sync::mpsc::channel();
    let sent = std::sync::Mutex::new(sent);
    let outlet = Outlet::new(move |batch, ack: Ack| {
        drop(sent.lock().unwrap().send(batch));
        ack.ack();
    });
    (outlet, taken)
}

#[track_caller]
fn done(end: &Receiver<AckOutcome>) {
    assert_eq!(end.recv_timeout(SOON), Ok(AckOutcome::Done));
}

#[track_caller]
fn code(outcome: &Outcome) -> ErrorCode {
    match &outcome.result {
        Some(RowResult::Failure(failure)) => ErrorCode::parse(&failure.code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_record_that_is_too_large_is_divided_until_its_parts_fit() {
    let broker = Broker::start(&[]);
    broker.refuse(TOO_LARGE, 2);
    let (ack, end) = ack();
    broker.outlet(Fallback::Replace).send(batch(classes(3), 4), ack);
    done(&end);
    let arrived = broker.batches::<Outcome>(3);
    assert_eq!(arrived.iter().map(rows).collect::<Vec<_>>(), [vec![0], vec![1], vec![2, 3]]);
    assert!(arrived.iter().flat_map(|batch| &batch.items).all(|item| item.payload == classes(3)));
}

#[test]
fn a_record_larger_than_the_client_sends_is_divided_before_it_is_sent() {
    let broker = Broker::start(&["kafka.options.message.max.bytes=1500"]);
    let (ack, end) = ack();
    broker.outlet(Fallback::Replace).send(batch(classes(100), 5), ack);
    done(&end);
    let arrived = broker.batches::<Outcome>(5);
    assert_eq!(arrived.iter().flat_map(rows).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

#[test]
fn an_outcome_that_is_too_large_becomes_an_error() {
    let broker = Broker::start(&["kafka.options.message.max.bytes=1500"]);
    let (ack, end) = ack();
    let mut mixed = batch(classes(3), 3);
    mixed.items[1].payload = classes(1000);
    broker.outlet(Fallback::Replace).send(mixed, ack);
    done(&end);
    let arrived = broker.batches::<Outcome>(3);
    let outcomes: Vec<_> = arrived.iter().flat_map(|batch| &batch.items).collect();
    assert_eq!(outcomes.iter().map(|item| item.context.row()).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(outcomes[0].payload, classes(3));
    assert_eq!(code(&outcomes[1].payload), ErrorCode::PayloadTooLarge);
    assert_eq!(outcomes[2].payload, classes(3));
    assert_eq!(broker.held(LETTERS), 0);
}

#[test]
fn an_outcome_whose_error_is_too_large_as_well_becomes_a_dead_letter() {
    let broker = Broker::start(&[]);
    broker.refuse(TOO_LARGE, 2 * TRIES);
    let (ack, end) = ack();
    let sent = batch(classes(3), 1);
    broker.outlet(Fallback::Replace).send(sent.clone(), ack);
    done(&end);
    let mut bytes = Vec::new();
    encode(&sent, &mut bytes);
    let letter = broker.read(LETTERS, 1).remove(0);
    assert_eq!(letter.payload(), Some(&bytes[..]), "the original bytes");
    let letter = RawRecord::of(&letter);
    assert_eq!(letter.header("forebay-code").unwrap(), "payload_too_large");
    assert_eq!(letter.header("__connect.errors.topic").unwrap(), TOPIC);
    assert_eq!(broker.held(TOPIC), 0);
}

#[test]
fn a_refusal_in_the_company_of_others_is_not_believed() {
    let broker = Broker::start(&[]);
    broker.refuse(TOO_LARGE, TRIES - 1);
    let (ack, end) = ack();
    broker.outlet(Fallback::Replace).send(batch(classes(3), 1), ack);
    done(&end);
    assert_eq!(broker.batches::<Outcome>(1)[0].items[0].payload, classes(3));
}

#[test]
fn a_row_that_is_too_large_is_answered_and_its_neighbours_pass() {
    let broker = Broker::start(&["kafka.options.message.max.bytes=1500"]);
    let (results, answered) = results();
    let (ack, end) = ack();
    let mut mixed = batch(Request { features: vec![1.0; 3], ..Request::default() }, 4);
    mixed.items[2].payload.features = vec![1.0; 1000];
    broker.outlet(Fallback::Answer(results)).send(mixed, ack);
    done(&end);
    assert_eq!(broker.batches::<Request>(2).iter().flat_map(rows).collect::<Vec<_>>(), [0, 1, 3]);
    let answered = answered.try_recv().unwrap();
    assert_eq!((rows(&answered), code(&answered.items[0].payload)), (vec![2], ErrorCode::PayloadTooLarge));
}

#[test]
fn a_record_that_is_refused_for_another_reason_is_not_called_too_large() {
    let broker = Broker::start(&[]);
    broker.refuse(RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD, 1);
    let (results, answered) = results();
    let (first, end) = ack();
    broker.outlet(Fallback::Answer(results)).send(batch(Request::default(), 2), first);
    done(&end);
    let answered = answered.try_recv().unwrap();
    assert!(answered.items.iter().all(|item| code(&item.payload) == ErrorCode::Internal));

    broker.refuse(RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_RECORD, 1);
    let (second, end) = ack();
    broker.outlet(Fallback::Replace).send(batch(classes(3), 2), second);
    done(&end);
    assert_eq!(RawRecord::of(&broker.read(LETTERS, 1)[0]).header("forebay-code").unwrap(), "internal");
}

const IMPATIENT: [&str; 3] = [
    "kafka.options.topic.metadata.refresh.interval.ms=100",
    "kafka.options.topic.metadata.propagation.max.ms=100",
    "kafka.options.message.timeout.ms=600",
];

#[test]
fn a_topic_that_is_created_again_gets_what_was_meant_for_it() {
    let broker = Broker::start(&IMPATIENT[..2]);
    let outlet = broker.outlet(Fallback::Replace);
    let (first, end) = ack();
    outlet.send(batch(classes(1), 1), first);
    done(&end);
    // it vanishes while a record waits for its leader: the client fails the record with an unknown partition
    broker.cluster.broker_down(LEADER).unwrap();
    let (second, end) = ack();
    outlet.send(batch(classes(2), 1), second);
    broker.cluster.topic_error(TOPIC, RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    assert!(end.recv_timeout(Duration::from_secs(2)).is_err(), "there is no topic");
    broker.cluster.topic_error(TOPIC, RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
    broker.cluster.broker_up(LEADER).unwrap();
    done(&end);
    assert_eq!(broker.batches::<Outcome>(2)[1].items[0].payload, classes(2));
    assert_eq!(broker.held(LETTERS), 0);
}

#[test]
fn an_item_is_answered_at_its_own_deadline() {
    let broker = Broker::start(&IMPATIENT);
    broker.cluster.broker_down(LEADER).unwrap();
    let (results, answered) = results();
    let (ack, end) = ack();
    let item = |row, timeout| context().accepted_us(now_us()).timeout(timeout).row(row, 2).item(Request::default());
    let items = vec![item(0, Duration::from_secs(300)), item(1, Duration::from_millis(100))];
    let mixed = Batch { items, ..batch(Request::default(), 0) };
    broker.outlet(Fallback::Answer(results)).send(mixed, ack);
    let late = answered.recv_timeout(SOON).unwrap();
    assert_eq!((rows(&late), code(&late.items[0].payload)), (vec![1], ErrorCode::DeadlineExceeded));
    assert!(end.try_recv().is_err(), "the other one has time");
    broker.cluster.broker_up(LEADER).unwrap();
    done(&end);
    assert_eq!(rows(&broker.batches::<Request>(1)[0]), [0]);
    assert!(answered.try_recv().is_err());
}

#[test]
fn advice_is_dropped_and_counted() {
    let broker = Broker::start(&IMPATIENT);
    broker.cluster.broker_down(LEADER).unwrap();
    let (permits, dropped) = (Permits::new(10), Counter::default());
    let outlet = broker.outlet(Fallback::Drop { permits: permits.clone(), dropped: dropped.clone() });
    outlet.send(batch(Request::default(), 6), Ack::none());
    outlet.send(batch(Request::default(), 6), Ack::none());
    assert_eq!((permits.in_use(), dropped.get()), (6, 6), "the second has no permits");
    wait_until(SOON, "the first to be dropped", || dropped.get() == 12);
    assert!(permits.wait_idle(SOON));
    broker.cluster.broker_up(LEADER).unwrap();
    let (ack, end) = ack();
    outlet.send(batch(Request::default(), 3), ack);
    done(&end);
    assert_eq!(rows(&broker.batches::<Request>(1)[0]).len(), 3, "and not what was dropped");
    assert_eq!(broker.held(LETTERS), 0);
}

#[test]
fn a_raw_record_that_is_too_large_is_shortened_or_kept() {
    let broker = Broker::start(&["kafka.options.message.max.bytes=1500"]);
    let letters = DeadLetters::to_topic("test", "group", broker.sink.clone(), LETTERS, WINDOW, Arc::new(NoEvents));
    broker.sink.on_undelivered(letters.keeping());
    broker.sink.shorten_too_large(|payload, message| {
        assert!(message.contains(TOPIC), "{message}");
        (payload[0] == b'a').then(|| b"short".to_vec())
    });
    let record = |payload| crate::kafka::OutRecord {
        topic: TOPIC.into(),
        partition: Some(0),
        key: Some(Bytes::from_static(b"key")),
        payload,
        headers: vec![("name".into(), b"value".to_vec())],
    };
    for payload in [vec![b'a'; 2000], vec![b'b'; 2000]] {
        let (ack, end) = ack();
        broker.sink.send(record(payload), ack);
        done(&end);
    }
    let short = broker.read(TOPIC, 1).remove(0);
    assert_eq!((short.payload(), short.key()), (Some(&b"short"[..]), Some(&b"key"[..])));
    assert_eq!(RawRecord::of(&short).header("name").unwrap(), "value");
    let letter = broker.read(LETTERS, 1).remove(0);
    let read = RawRecord::of(&letter);
    assert_eq!(read.header("forebay-code").unwrap(), "payload_too_large");
    assert_eq!(read.header("name").unwrap(), "value", "the original headers");
    assert_eq!(read.header("forebay-truncated").unwrap(), "true", "a letter that is too large is cut");
    assert_eq!(broker.held(TOPIC), 1);
}

#[test]
fn a_whole_batch_of_items_that_are_too_large_is_dropped_one_by_one() {
    let broker = Broker::start(&["kafka.options.message.max.bytes=1500"]);
    let (permits, dropped) = (Permits::new(256), Counter::default());
    let outlet = broker.outlet(Fallback::Drop { permits: permits.clone(), dropped: dropped.clone() });
    outlet.send(batch(Request { features: vec![1.0; 1000], ..Request::default() }, 256), Ack::none());
    wait_until(SOON, "all to be dropped", || dropped.get() == 256);
    assert!(permits.wait_idle(SOON));
}

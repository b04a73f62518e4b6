//! The order of retries, and what the broker would refuse at every attempt.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Receiver;

use forebay_runtime::Lifecycle;
use forebay_testkit::{settings, wait_until};
use rdkafka::Timestamp;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::context::{Context, refusal};
use super::resend::{Attempt, Retry};
use super::*;
use crate::kafka::Client;
use crate::{AckOutcome, BusSettings, NoEvents};

fn sent(items: u64, attempts: u32) -> Box<Sent> {
    let once = Sent::once(Ack::none(), Counter::default(), Arc::new(|_| ()));
    Box::new(Sent { items, attempts, ..once })
}

#[test]
fn only_what_stays_refused_is_given_up() {
    use RDKafkaErrorCode::*;
    let why = |code, rejection, sent: Box<Sent>| refusal(&KafkaError::MessageProduction(code), rejection, &sent);
    for code in [MessageSizeTooLarge, MessageBatchTooLarge] {
        assert_eq!(why(code, Rejection::AtOnce, sent(1, 0)), Some(Reason::TooLarge));
        assert_eq!(why(code, Rejection::ByReport, sent(2, 0)), Some(Reason::TooLarge));
        assert_eq!(why(code, Rejection::ByReport, sent(1, 0)), None, "others may have been in the same batch");
        assert_eq!(why(code, Rejection::ByReport, sent(1, 100)), Some(Reason::TooLarge));
    }
    for code in [InvalidMessage, InvalidMessageSize, InvalidRecord] {
        assert_eq!(why(code, Rejection::ByReport, sent(1, 0)), Some(Reason::Invalid));
    }
    for code in [
        UnknownPartition,
        UnknownTopic,
        UnknownTopicOrPartition,
        TopicAuthorizationFailed,
        MessageTimedOut,
        QueueFull,
        NotLeaderForPartition,
        BrokerTransportFailure,
    ] {
        assert_eq!(why(code, Rejection::AtOnce, sent(1, 100)), None, "{code:?}");
        assert_eq!(why(code, Rejection::ByReport, sent(2, 100)), None, "{code:?}");
    }
}

/// Counts failures for good.
#[derive(Default)]
struct Failures(AtomicU32);

impl EdgeEvents for Failures {
    fn fail(&self, _: &str) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_client_that_has_failed_for_good_ends_the_process_once_and_its_records_are_read_again() {
    let (retries, due) = channel();
    let failures = Arc::new(Failures::default());
    let context = Context::new(retries, Arc::clone(&failures) as Arc<dyn EdgeEvents>, true);
    let (ends, end) = channel();
    for _ in 0..3 {
        let (ends, record) =
            (ends.clone(), OwnedMessage::new(None, None, String::new(), Timestamp::NotAvailable, 0, 0, None));
        let ack = Ack::new(move |outcome| ends.send(outcome).unwrap());
        let sent = Box::new(Sent::once(ack, Counter::default(), Arc::new(|_| ())));
        context.failed(&KafkaError::MessageProduction(RDKafkaErrorCode::Fatal), Rejection::ByReport, record, sent);
        assert_eq!(end.recv().unwrap(), AckOutcome::Failed);
    }
    assert_eq!(failures.0.load(Ordering::Relaxed), 1);
    assert!(due.try_recv().is_err(), "nothing is sent again");
}

#[test]
fn records_are_resent_when_they_are_due() {
    let (retries, due) = channel();
    let now = Instant::now();
    for delay in [60, 20, 40, 0] {
        let record = OwnedMessage::new(None, None, String::new(), Timestamp::NotAvailable, 0, delay, None);
        let due = now + Duration::from_millis(delay.unsigned_abs());
        retries.send(Retry { due, record, sent: sent(1, 0), attempt: Attempt::Send }).unwrap();
    }
    let (taken, order) = channel();
    let loops = std::thread::spawn(move || {
        resend_loop(&due, &Lifecycle::new().heartbeat("test"), &|due| {
            for retry in due {
                assert!(retry.due <= Instant::now());
                taken.send(retry.record.offset()).unwrap();
            }
        });
    });
    let order: Vec<i64> = (0..4).map(|_| order.recv_timeout(Duration::from_secs(10)).unwrap()).collect();
    assert_eq!(order, [0, 20, 40, 60]);
    drop(retries);
    loops.join().unwrap();
}

const TOPIC: &str = "topic";
const OTHER: &str = "other";
const SOON: Duration = Duration::from_secs(20);
const NOT_LEADER: RDKafkaRespErr = RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;

struct Broker {
    cluster: MockCluster<'static, DefaultProducerContext>,
    sink: RecordSink,
}

impl Broker {
    fn start() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        for topic in [TOPIC, OTHER] {
            cluster.create_topic(topic, 1, 1).unwrap();
        }
        let brokers = format!("kafka.brokers={}", cluster.bootstrap_servers());
        let settings = settings(&[]).flags(&[&brokers]).read(BusSettings::read).unwrap();
        let client = Client::new(&settings.kafka, "test");
        let heartbeats = [(); 2].map(|()| Lifecycle::new().heartbeat("test"));
        let config = client.producer();
        let sink = RecordSink::open(client, config, Arc::new(NoEvents), heartbeats, |_| Counter::default()).unwrap();
        Self { cluster, sink }
    }

    /// Sends a record of a stage, which may stand twice, or one for clients.
    fn send(&self, topic: &str, payload: u8, once_only: bool) -> Receiver<AckOutcome> {
        let (ended, end) = channel();
        let ack = Ack::new(move |outcome| ended.send(outcome).unwrap_or_default());
        let sent = Sent { once_only, ..Sent::once(ack, Counter::default(), Arc::new(|_| ())) };
        let headers = OwnedHeaders::new().insert(Header { key: "id", value: Some(&[payload]) });
        self.sink.produce(topic, Some(0), None, Some(&[7]), Some(headers), sent);
        end
    }

    fn held(&self) -> i64 {
        self.sink.0.producer().client().fetch_watermarks(TOPIC, 0, SOON).unwrap().1
    }

    /// Sends two batches, one while the other is in flight, of which the broker refuses the first.
    fn send_two_and_refuse_the_first(&self, once_only: bool) {
        // the client has its identity and knows the leader
        assert_eq!(self.send(OTHER, 0, once_only).recv_timeout(SOON), Ok(AckOutcome::Done));
        self.sink.refresh(TOPIC, SOON).unwrap();
        self.cluster.broker_round_trip_time(1, Duration::from_millis(400)).unwrap();
        self.cluster.request_errors(RDKafkaApiKey::Produce, &[NOT_LEADER]);
        let first = self.send(TOPIC, 1, once_only);
        std::thread::sleep(Duration::from_millis(100));
        for end in [first, self.send(TOPIC, 2, once_only)] {
            assert_eq!(end.recv_timeout(SOON), Ok(AckOutcome::Done));
        }
    }
}

#[test]
fn a_record_that_is_wrongly_reported_as_delivered_is_sent_again() {
    for once_only in [false, true] {
        let broker = Broker::start();
        broker.send_two_and_refuse_the_first(once_only);
        assert_eq!(broker.held(), 2);
    }
}

#[test]
fn a_record_for_clients_that_stands_in_its_topic_is_not_sent_again() {
    let broker = Broker::start();
    for payload in [1, 2, 3] {
        assert_eq!(broker.send(TOPIC, payload, true).recv_timeout(SOON), Ok(AckOutcome::Done));
    }
    let (ended, end) = channel();
    // two of them, and one that is not there
    for payload in [2, 4, 3] {
        let ended = ended.clone();
        let ack = Ack::new(move |outcome| ended.send(outcome).unwrap_or_default());
        let once = Sent::once(ack, Counter::default(), Arc::new(|_| ()));
        let sent = Box::new(Sent { once_only: true, handed_us: machine_us(), ..once });
        let headers = OwnedHeaders::new().insert(Header { key: "id", value: Some(&[payload]) });
        let no_time = Timestamp::NotAvailable;
        let record = OwnedMessage::new(Some(vec![7]), None, TOPIC.to_owned(), no_time, 0, -1001, Some(headers));
        broker.sink.0.producer().context().look_up_at(Instant::now(), record, sent);
    }
    for _ in 0..3 {
        assert_eq!(end.recv_timeout(SOON), Ok(AckOutcome::Done));
    }
    assert_eq!(broker.held(), 4);
}

#[test]
fn what_was_not_sent_when_the_process_ends_is_not_sent_any_more() {
    let broker = Broker::start();
    assert_eq!(broker.send(TOPIC, 1, true).recv_timeout(SOON), Ok(AckOutcome::Done));
    broker.cluster.broker_down(1).unwrap();
    let waits = broker.send(TOPIC, 2, true);
    assert!(waits.recv_timeout(Duration::from_millis(300)).is_err());
    let mut passed = broker.sink.barrier().raise();
    assert!(!passed.are_settled());
    broker.sink.abandon_unsent();
    assert_eq!(waits.recv_timeout(SOON), Ok(AckOutcome::Failed));
    assert_eq!(broker.send(TOPIC, 3, true).recv_timeout(SOON), Ok(AckOutcome::Failed));
    wait_until(SOON, "its pass", || passed.are_settled());
    broker.cluster.broker_up(1).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(broker.held(), 1);
}

#[test]
fn a_topic_is_known_once_the_leaders_of_its_partitions_know_them() {
    let broker = Broker::start();
    broker.cluster.request_errors(RDKafkaApiKey::ListOffsets, &[NOT_LEADER; 100]);
    let error = broker.sink.refresh(TOPIC, Duration::from_secs(1)).unwrap_err();
    assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::NotLeaderForPartition));
    assert_eq!(broker.sink.partitions(TOPIC), None);
    broker.cluster.clear_request_errors(RDKafkaApiKey::ListOffsets);
    assert_eq!(broker.sink.refresh(TOPIC, SOON), Ok(1));
}

//! Transactions on the client library's mock broker.

use std::sync::mpsc::{Receiver, channel};

use forebay_runtime::Lifecycle;
use forebay_testkit::{settings, wait_until};
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use super::*;
use crate::kafka::broker_contact::DeadClientCheck;
use crate::kafka::record::RawBatch;
use crate::kafka::source::{IntakePace, RecordIntake, RevokeBudget, Source, SourceSpec, SourceTopics};
use crate::{AckOutcome, BusSettings, Delivery, NoEvents, Permits};

const IN: &str = "outcomes";
const OUT: &str = "results";
const GROUP: &str = "forebay-test";
const LONG: Duration = Duration::from_secs(30);

struct Bench {
    cluster: MockCluster<'static, DefaultProducerContext>,
    sink: TransactionalSink,
    source: Source,
    deliveries: Receiver<Delivery<RawBatch>>,
    committed: Counter,
    aborted: Counter,
}

fn letters() -> DeadLetters {
    DeadLetters::logged("test", Arc::new(NoEvents))
}

fn bench() -> Bench {
    let cluster = MockCluster::new(1).unwrap();
    [IN, OUT].iter().for_each(|topic| cluster.create_topic(topic, 1, 1).unwrap());
    let brokers = format!("kafka.brokers={}", cluster.bootstrap_servers());
    let client = Client::new(&settings(&[]).flags(&[&brokers]).read(BusSettings::read).unwrap().kafka, "test");
    let heartbeats = || [(); 2].map(|()| Lifecycle::new().heartbeat("test"));
    let counts =
        RecordSink::open(client.clone(), client.producer(), Arc::new(NoEvents), heartbeats(), |_| Counter::default())
            .unwrap();
    let (committed, aborted) = (Counter::default(), Counter::default());
    let sink = TransactionalSink::open(SinkSpec {
        client: client.clone(),
        stage: "test",
        settings: TransactionSettings {
            interval: Duration::from_millis(10),
            shorten: Box::new(|_, _| None),
            committed: committed.clone(),
            aborted: aborted.clone(),
        },
        dead_letters: letters(),
        counts,
        events: Arc::new(NoEvents),
        heartbeats: heartbeats(),
    })
    .unwrap();
    let mut config = client.consumer(GROUP, IN);
    config.set("enable.auto.commit", "false");
    let spec = SourceSpec {
        config,
        topics: SourceTopics::one(IN),
        from_latest: false,
        of_clients: false,
        permits: Permits::new(1024).into(),
        events: Arc::new(NoEvents),
        heartbeat: Lifecycle::new().heartbeat("test"),
        dead_client: DeadClientCheck::dead_when(&Arc::default()),
        dead_letters: letters(),
        revoke_budget: RevokeBudget::of_work(Duration::from_millis(800)),
        pace: IntakePace::default(),
        on_assigned: Arc::new(|_| ()),
        on_leaving: Arc::new(|| ()),
        on_first: None,
        commits: Some(sink.source()),
        held_back_after: Duration::from_secs(60),
    };
    let (taken, deliveries) = channel();
    let take = move |delivery| drop(taken.send(delivery));
    let source = Source::start(
        spec,
        RecordIntake {
            topics: SourceTopics::one(IN),
            take,
            arena: bytes::BytesMut::new(),
            dead_letters: letters(),
            max_rows: 1,
        },
    )
    .unwrap();
    Bench { cluster, sink, source, deliveries, committed, aborted }
}

impl Bench {
    fn produce(&self, payload: &str) {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.cluster.bootstrap_servers());
        let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
        producer.send(BaseRecord::<(), str>::to(IN).partition(0).payload(payload)).unwrap();
        producer.flush(LONG).unwrap();
    }

    /// Answers the next record; what became of the answer.
    fn answer(&self) -> Receiver<AckOutcome> {
        let Delivery { payload, ack } = self.deliveries.recv_timeout(LONG).unwrap();
        let payload = payload.records[0].payload.to_vec();
        let (sender, outcome) = channel();
        let committed = Ack::new(move |outcome| _ = sender.send(outcome));
        let headers = vec![("id".into(), b"1".to_vec())];
        let record = OutRecord { topic: OUT.into(), partition: Some(0), key: None, payload, headers };
        self.sink.send(record, TransactionAcks { written: ack, committed }, Vec::new());
        outcome
    }
}

#[test]
fn answers_and_offsets_are_committed_in_transactions() {
    let bench = bench();
    bench.produce("one");
    assert_eq!(bench.answer().recv_timeout(LONG), Ok(AckOutcome::Done));
    assert_eq!(bench.committed.get(), 1);
    // an outcome without a record of its own: a duplicate, or a reply
    bench.produce("two");
    bench.deliveries.recv_timeout(LONG).unwrap().ack.ack();
    wait_until(LONG, "its offset", || bench.committed.get() == 2);
    assert!(bench.sink.flush(LONG));
    bench.source.close();
    bench.sink.close();
    assert_eq!(bench.aborted.get(), 0);
}

#[test]
fn what_the_broker_refuses_is_aborted_and_sent_again() {
    let bench = bench();
    let refusals = [
        (RDKafkaApiKey::TxnOffsetCommit, RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION),
        (RDKafkaApiKey::TxnOffsetCommit, RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH),
        (RDKafkaApiKey::AddPartitionsToTxn, RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED),
    ];
    for (request, error) in refusals {
        let before = bench.aborted.get();
        bench.cluster.request_errors(request, &[error]);
        bench.produce("refused");
        let outcome = bench.answer();
        assert_eq!(outcome.recv_timeout(LONG), Ok(AckOutcome::Done), "{error:?}");
        assert!(bench.aborted.get() > before, "{error:?} was not met");
    }
    bench.source.close();
    bench.sink.close();
}

#[test]
fn a_turn_without_work_ends_what_failed_ones_have_begun() {
    #[derive(Default)]
    struct Recorded(parking_lot::Mutex<Vec<String>>);
    impl EdgeEvents for Recorded {
        fn ready(&self) {
            self.0.lock().push("ready".to_owned());
        }
        fn unready(&self, why: &str) {
            self.0.lock().push(why.to_owned());
        }
    }
    let (events, mut failed) = (Recorded::default(), false);
    let mut turn = |turn: Turn| {
        report(&turn, &mut failed, &events);
        std::mem::take(&mut *events.0.lock())
    };
    let failure = || Turn::Failed("timed out".to_owned());
    assert_eq!(turn(Turn::Idle), Vec::<String>::new());
    assert_eq!(turn(failure()), Vec::<String>::new(), "one is normal");
    assert_eq!(turn(failure()), ["transactions: timed out"]);
    // the partitions went elsewhere, and with them the records
    assert_eq!(turn(Turn::Idle), ["ready"]);
    assert_eq!(turn(Turn::Committed), ["ready"]);
}

//! The Kafka commands against the client library's mock broker, with a relay as the system under test.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use clap::{Args, Parser};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use super::{DrainArgs, FillArgs, JudgeArgs, KafkaArgs, ThroughputArgs, read_topic};
use crate::kafka::BrokerArgs;
use crate::relay::RelayArgs;

#[derive(Debug, Parser)]
struct TestCommandLine<T: Args> {
    #[command(flatten)]
    args: T,
}

fn parse<T: Args>(cluster: &MockCluster<'_, DefaultProducerContext>, arguments: &[&str]) -> T {
    let servers = cluster.bootstrap_servers();
    TestCommandLine::<T>::try_parse_from([&["test", "--brokers", &servers], arguments].concat()).unwrap().args
}

fn cluster(topics: &[&str]) -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(1).unwrap();
    topics.iter().for_each(|topic| cluster.create_topic(topic, 4, 1).unwrap());
    cluster
}

/// A relay in this process that stops when dropped.
struct Running(Arc<AtomicBool>, Option<JoinHandle<()>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
        if let Some(thread) = self.1.take() {
            thread.join().unwrap();
        }
    }
}

fn relay(cluster: &MockCluster<'_, DefaultProducerContext>, role: &str, input: &str, output: &str) -> Running {
    let args: RelayArgs = parse(cluster, &["--role", role, "--in", input, "--out", output, "--group", role]);
    let stop = Arc::new(AtomicBool::new(false));
    let (ready, is_ready) = mpsc::channel();
    let stopping = Arc::clone(&stop);
    let thread = std::thread::spawn(move || args.relay(&stopping, move || ready.send(()).unwrap()).unwrap());
    is_ready.recv_timeout(Duration::from_secs(30)).unwrap();
    Running(stop, Some(thread))
}

fn produce(cluster: &MockCluster<'_, DefaultProducerContext>, topic: &str, payload: &str) {
    let mut config = rdkafka::ClientConfig::new();
    let producer: ThreadedProducer<DefaultProducerContext> =
        config.set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
    producer.send(BaseRecord::<(), str>::to(topic).payload(payload)).unwrap();
    producer.flush(Duration::from_secs(10)).unwrap();
}

#[test]
fn an_open_loop_through_a_relay_is_clean_and_the_judge_agrees_until_it_is_not() {
    let cluster = cluster(&["in", "packed", "out"]);
    let _stages = [relay(&cluster, "pack", "in", "packed"), relay(&cluster, "unpack", "packed", "out")];
    let folder = tempfile::tempdir().unwrap();
    let oracle = folder.path().join("oracle").to_str().unwrap().to_owned();
    let common =
        ["--in", "in", "--out", "out", "--rate", "500", "--seconds", "1", "--warmup", "0.2", "--settle", "0.2"];
    let run: KafkaArgs = parse(&cluster, &[&common[..], &["--repeat-ratio", "0.5", "--oracle", &oracle]].concat());
    let report = run.measure().unwrap();
    assert!(report.clean(false), "{report}");
    assert_eq!((report.sent, report.answered, report.latency_ms.count), (600, 600, 500), "{report}");

    let judge = || parse::<JudgeArgs>(&cluster, &["--oracle", &oracle, "--out", "out"]).run().unwrap();
    assert!(judge());
    produce(&cluster, "out", &format!(r#"{{"request_id":"{}-5","prediction":0.0}}"#, report.run));
    assert!(!judge(), "a duplicate in the topic must be found");
}

#[test]
fn requests_that_nobody_answers_are_lost() {
    let cluster = cluster(&["in", "out"]);
    let arguments =
        ["--in", "in", "--out", "out", "--rate", "100", "--seconds", "0.2", "--warmup", "0", "--drain", "0.3"];
    let report = parse::<KafkaArgs>(&cluster, &arguments).measure().unwrap();
    assert_eq!((report.sent, report.lost, report.answered), (20, 20, 0), "{report}");
    assert_eq!(report.lost_examples, vec![0, 1, 2, 3, 4]);
}

#[test]
fn a_filled_topic_is_drained_and_counted() {
    let cluster = cluster(&["in", "out"]);
    let _stage = relay(&cluster, "answer", "in", "out");
    let arguments = ["--in", "in", "--out", "out", "--count", "5000", "--idle", "10"];
    let report = parse::<ThroughputArgs>(&cluster, &arguments).measure().unwrap();
    assert!(report.clean(false), "{report}");
    assert_eq!((report.sent, report.answered), (5000, 5000));
    assert!(report.answered_per_s > 0.0 && report.window_per_s > 0.0, "{report}");

    let late = ["--run", &report.run, "--count", "5003", "--out", "out", "--idle", "5"];
    let late = parse::<DrainArgs>(&cluster, &late).measure().unwrap();
    assert_eq!((late.answered, late.lost), (5000, 3), "{late}");
    assert!(late.answered_per_s == 0.0 && late.counted_from.starts_with("no rate"), "{late}");
}

#[test]
fn a_fill_writes_what_it_says() {
    let cluster = cluster(&["in"]);
    assert!(parse::<FillArgs>(&cluster, &["--in", "in", "--count", "3000", "--run", "ab12cd34"]).run().unwrap());
    let broker = BrokerArgs { brokers: cluster.bootstrap_servers(), options: Vec::new() };
    let mut last = String::new();
    let count = read_topic(&broker, "in", |payload| last = String::from_utf8_lossy(payload).into_owned()).unwrap();
    assert_eq!(count, 3000);
    assert!(last.starts_with("{\"request_id\":\"ab12cd34-"), "{last}");
}

#[test]
fn an_unreachable_option_is_named() {
    let cluster = cluster(&["in"]);
    let fill: FillArgs = parse(&cluster, &["--in", "in", "--count", "1", "--kafka-option", "nonsense"]);
    assert!(fill.run().unwrap_err().to_string().contains("KEY=VALUE"));
}

//! When a replica is ready, on the client library's mock broker.

use std::sync::mpsc::channel;

use forebay_contract::VersionState;
use forebay_runtime::Lifecycle;
use forebay_runtime::prometheus_client::metrics::counter::Counter;
use forebay_testkit::settings;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;

use super::*;
use crate::kafka::Client;
use crate::{BusSettings, NoEvents};

const TOPIC: &str = "models";
const LONG: Duration = Duration::from_secs(20);
/// Far longer than a broker that is there takes to store a record.
const SHORT: Duration = Duration::from_millis(500);

struct Events(std::sync::mpsc::Sender<()>);

impl EdgeEvents for Events {
    fn ready(&self) {
        self.0.send(()).unwrap();
    }
}

#[test]
fn a_replica_is_ready_once_the_topic_says_that_a_version_is_loaded() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 1, 1).unwrap();
    let brokers = format!("kafka.brokers={}", cluster.bootstrap_servers());
    let client = Client::new(&settings(&[]).flags(&[&brokers]).read(BusSettings::read).unwrap().kafka, "test");
    let heartbeat = || Lifecycle::new().heartbeat("test");
    let (config, beats) = (client.producer(), [heartbeat(), heartbeat()]);
    let sink = RecordSink::open(client, config, Arc::new(NoEvents), beats, |_| Counter::default()).unwrap();
    let (directory, leaving) = (ModelDirectory::new("here"), Arc::new(AtomicBool::new(false)));
    let (ends, ready) = channel();
    let records = DirectoryRecords::All(Arc::new(Events(ends)));
    let writer = Writer::new(directory.clone(), sink, TOPIC, Arc::clone(&leaving), (heartbeat(), records));
    let thread = writer.spawn().unwrap();
    let report = |state: LoadState| {
        directory.report("m", None, vec![VersionState { version: 1, state: state.into(), ..VersionState::default() }]);
    };
    report(LoadState::Loading);
    assert!(ready.recv_timeout(SHORT).is_err(), "nothing is loaded");
    cluster.broker_down(1).unwrap();
    report(LoadState::Ready);
    assert!(ready.recv_timeout(SHORT).is_err(), "the topic does not say so");
    cluster.broker_up(1).unwrap();
    ready.recv_timeout(LONG).unwrap();
    let reader: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", cluster.bootstrap_servers()).create().unwrap();
    // a heartbeat may have come as well
    assert!(reader.fetch_watermarks(TOPIC, 0, LONG).unwrap().1 >= 2);
    report(LoadState::Loading);
    report(LoadState::Ready);
    assert!(ready.recv_timeout(SHORT).is_err(), "it is reported once");
    leaving.store(true, Ordering::Release);
    thread.join().unwrap();
}

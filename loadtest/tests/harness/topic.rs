//! Reading and writing topics as a client would; what goes wrong fails the test.

use std::time::{Duration, Instant};

use forebay_loadtest::mesh_under_test::{BROKER_TIMEOUT, TopicReader, TopicWriter, client_config};
pub use forebay_loadtest::mesh_under_test::{DeliveryOutcome as Report, OutgoingRecord as Out, TopicRecord as Record};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::brokers;

/// Makes a topic with broker settings of its own, before `forebay topics create` finds it there.
pub fn create(name: &str, partitions: i32, settings: &[(&str, &str)]) {
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    for (key, value) in settings {
        topic = topic.set(key, value);
    }
    for result in administer(async |admin| admin.create_topics([&topic], &options()).await) {
        result.unwrap_or_else(|(name, code)| panic!("topic {name}: {code}"));
    }
}

/// Deletes a topic and waits until it is gone.
pub fn delete(name: &str) {
    administer(async |admin| admin.delete_topics(&[name], &options()).await).remove(0).unwrap();
    let deadline = Instant::now() + BROKER_TIMEOUT;
    while partitions(name).is_some() {
        assert!(Instant::now() < deadline, "{name} is still there");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Raises the number of partitions of a topic.
pub fn add_partitions(name: &str, count: usize) {
    let more = [NewPartitions::new(name, count)];
    administer(async |admin| admin.create_partitions(&more, &options()).await).remove(0).unwrap();
}

/// Removes the records before `offset`, as retention does.
pub fn delete_records(name: &str, partition: i32, offset: i64) {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(name, partition, Offset::Offset(offset)).unwrap();
    let removed = administer(async |admin| admin.delete_records(&list, &options()).await);
    removed.elements().iter().for_each(|element| element.error().unwrap());
}

/// Removes the offsets of these groups, as the broker does of groups that had no member for long (`offsets.retention.minutes`).
pub fn forget_groups(names: &[&str]) {
    for result in administer(async |admin| admin.delete_groups(names, &options()).await) {
        result.unwrap_or_else(|(name, code)| panic!("group {name}: {code}"));
    }
}

/// Makes one request with an administrator's client.
fn administer<T>(request: impl AsyncFnOnce(&AdminClient<DefaultClientContext>) -> KafkaResult<T>) -> T {
    let admin: AdminClient<DefaultClientContext> = client_config(&brokers()).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(request(&admin)).unwrap()
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(BROKER_TIMEOUT)).request_timeout(Some(BROKER_TIMEOUT))
}

/// Whether a topic exists, and with how many partitions.
pub fn partitions(name: &str) -> Option<usize> {
    let consumer: BaseConsumer = client_config(&brokers()).create().unwrap();
    let metadata = consumer.fetch_metadata(None, BROKER_TIMEOUT).unwrap();
    let found = metadata.topics().iter().find(|topic| topic.name() == name && topic.error().is_none());
    found.map(|topic| topic.partitions().len())
}

/// Whether the broker knows a consumer group.
pub fn group_exists(name: &str) -> bool {
    let consumer: BaseConsumer = client_config(&brokers()).create().unwrap();
    let groups = consumer.fetch_group_list(Some(name), BROKER_TIMEOUT).unwrap();
    groups.groups().iter().any(|group| group.name() == name && group.state() != "Dead")
}

/// A client that writes records.
pub struct Writer(TopicWriter);

impl Writer {
    pub fn new() -> Self {
        Self(TopicWriter::new(&brokers()).unwrap())
    }

    /// Hands a record to the client; its report comes under `number`.
    pub fn hand_over(&self, out: Out<'_>, number: u64) {
        self.0.hand_over(out, number).unwrap();
    }

    /// Reports that have come since the last call.
    pub fn reports(&self) -> Vec<Report> {
        self.0.reports()
    }

    pub fn flush(&self) {
        self.0.flush(Duration::from_secs(70)).unwrap();
    }

    /// Writes one record and waits for its place.
    #[track_caller]
    pub fn write(&self, out: Out<'_>) -> (i32, i64) {
        self.0.write(out).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Writes one request without key or headers.
    #[track_caller]
    pub fn request(&self, topic: &str, json: &str) -> (i32, i64) {
        self.write(Out { topic, payload: json.as_bytes(), ..Out::default() })
    }
}

/// Reads all partitions of a topic, outside any group.
pub struct Reader {
    reader: TopicReader,
    topic: String,
}

impl Reader {
    /// Reads everything that is written after this call.
    #[track_caller]
    pub fn from_now(topic: &str) -> Self {
        let reader = TopicReader::from_now(&brokers(), topic).unwrap_or_else(|error| panic!("{error}"));
        Self { reader, topic: topic.to_owned() }
    }

    /// Everything there is.
    #[track_caller]
    pub fn from_start(topic: &str) -> Self {
        let reader = TopicReader::from_start(&brokers(), topic).unwrap_or_else(|error| panic!("{error}"));
        Self { reader, topic: topic.to_owned() }
    }

    /// Everything there is, what open and aborted transactions hold as well.
    #[track_caller]
    pub fn uncommitted_from_start(topic: &str) -> Self {
        let reader = TopicReader::uncommitted_from_start(&brokers(), topic).unwrap_or_else(|error| panic!("{error}"));
        Self { reader, topic: topic.to_owned() }
    }

    /// How many records the topic holds.
    pub fn held(&self) -> i64 {
        self.reader.held().unwrap()
    }

    /// The next record, if one comes in time.
    #[track_caller]
    pub fn poll(&self, within: Duration) -> Option<Record> {
        self.reader.poll(within).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Waits for the record that `wanted` accepts; others are skipped.
    #[track_caller]
    pub fn find(&self, within: Duration, what: &str, wanted: impl Fn(&Record) -> bool) -> Record {
        let deadline = Instant::now() + within;
        let mut skipped = Vec::new();
        while let Some(record) = self.poll(deadline.saturating_duration_since(Instant::now())) {
            if wanted(&record) {
                return record;
            }
            skipped.push(record.text());
        }
        panic!("{}: no {what} within {within:?}; others: {skipped:?}", self.topic)
    }

    /// The result with this request id.
    #[track_caller]
    pub fn result(&self, request_id: &str) -> Record {
        self.find(Duration::from_secs(30), request_id, |record| record.request_id().as_deref() == Some(request_id))
    }

    /// Everything that comes until nothing has come for `quiet`.
    pub fn rest(&self, quiet: Duration) -> Vec<Record> {
        std::iter::from_fn(|| self.poll(quiet)).collect()
    }
}

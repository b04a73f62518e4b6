//! Reading and writing topics as a client would.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::{DeliveryResult, Header, Headers as _, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use serde_json::Value;

use super::brokers;

const BROKER: Duration = Duration::from_secs(20);

/// A record of a topic.
#[derive(Clone, Debug)]
pub struct Record {
    pub payload: Vec<u8>,
    pub key: Option<Vec<u8>>,
    pub headers: Vec<(String, Vec<u8>)>,
    pub partition: i32,
    pub offset: i64,
    pub timestamp_ms: i64,
}

impl Record {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_slice())
    }

    pub fn header_text(&self, name: &str) -> String {
        String::from_utf8_lossy(self.header(name).unwrap_or_default()).into_owned()
    }

    /// Its `request_id`, if it is a result with one.
    pub fn request_id(&self) -> Option<String> {
        let json: Value = serde_json::from_slice(&self.payload).ok()?;
        json["request_id"].as_str().map(str::to_owned)
    }
}

fn config() -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers()).set("broker.address.family", "v4");
    config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "500");
    config
}

/// Makes a topic with broker settings of its own, before `forebay topics create` finds it there.
pub fn create(name: &str, partitions: i32, settings: &[(&str, &str)]) {
    let admin: AdminClient<DefaultClientContext> = config().create().unwrap();
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    for (key, value) in settings {
        topic = topic.set(key, value);
    }
    let options = AdminOptions::new().operation_timeout(Some(BROKER)).request_timeout(Some(BROKER));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for result in runtime.block_on(admin.create_topics([&topic], &options)).unwrap() {
        result.unwrap_or_else(|(name, code)| panic!("topic {name}: {code}"));
    }
}

/// Whether a topic exists, and with how many partitions.
pub fn partitions(name: &str) -> Option<usize> {
    let consumer: BaseConsumer = config().create().unwrap();
    let metadata = consumer.fetch_metadata(None, BROKER).unwrap();
    let found = metadata.topics().iter().find(|topic| topic.name() == name && topic.error().is_none());
    found.map(|topic| topic.partitions().len())
}

/// Whether the broker knows a consumer group.
pub fn group_exists(name: &str) -> bool {
    let consumer: BaseConsumer = config().create().unwrap();
    let groups = consumer.fetch_group_list(Some(name), BROKER).unwrap();
    groups.groups().iter().any(|group| group.name() == name && group.state() != "Dead")
}

/// A delivery report: the number of the record, and its partition and offset or why it has none.
pub type Report = (u64, Result<(i32, i64), String>);

#[derive(Default)]
struct Reports(Mutex<Vec<Report>>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, report: &DeliveryResult<'_>, opaque: usize) {
        let outcome = match report {
            Ok(record) => Ok((record.partition(), record.offset())),
            Err((error, _)) => Err(error.to_string()),
        };
        // an opaque of 0 would be a null pointer
        self.0.lock().unwrap().push((opaque as u64 - 1, outcome));
    }
}

/// A client that writes records.
pub struct Writer {
    producer: ThreadedProducer<Reports>,
}

/// One record to write.
#[derive(Clone, Copy, Debug, Default)]
pub struct Out<'a> {
    pub topic: &'a str,
    pub partition: Option<i32>,
    pub key: Option<&'a [u8]>,
    pub payload: &'a [u8],
    pub headers: &'a [(&'a str, &'a [u8])],
}

impl Writer {
    pub fn new() -> Self {
        let mut config = config();
        config.set("enable.idempotence", "true").set("acks", "all").set("linger.ms", "1");
        config.set("delivery.timeout.ms", "60000").set("message.max.bytes", "4000000");
        Self { producer: config.create_with_context(Reports::default()).unwrap() }
    }

    /// Hands a record to the client; its report comes under `number`.
    pub fn hand_over(&self, out: Out<'_>, number: u64) {
        let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(out.topic, number as usize + 1);
        record = record.payload(out.payload);
        if let Some(partition) = out.partition {
            record = record.partition(partition);
        }
        if let Some(key) = out.key {
            record = record.key(key);
        }
        if !out.headers.is_empty() {
            let header = |headers: OwnedHeaders, (key, value): &(&str, &[u8])| {
                headers.insert(Header { key, value: Some(*value) })
            };
            record = record.headers(out.headers.iter().fold(OwnedHeaders::new(), header));
        }
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
    }

    /// Reports that have come since the last call.
    pub fn reports(&self) -> Vec<Report> {
        std::mem::take(&mut self.producer.context().0.lock().unwrap())
    }

    pub fn flush(&self) {
        self.producer.flush(Duration::from_secs(70)).unwrap();
    }

    /// Writes one record and waits for its place.
    pub fn write(&self, out: Out<'_>) -> (i32, i64) {
        self.hand_over(out, 0);
        self.producer.flush(BROKER).unwrap();
        let (_, outcome) = self.reports().pop().unwrap();
        outcome.unwrap_or_else(|error| panic!("{}: {error}", out.topic))
    }

    /// Writes one request without key or headers.
    pub fn request(&self, topic: &str, json: &str) -> (i32, i64) {
        self.write(Out { topic, payload: json.as_bytes(), ..Out::default() })
    }
}

/// The first and the next offset; a topic that was made a moment ago may have no leader yet.
#[track_caller]
fn watermarks(consumer: &BaseConsumer, topic: &str, partition: i32) -> (i64, i64) {
    let deadline = Instant::now() + BROKER;
    loop {
        match consumer.fetch_watermarks(topic, partition, BROKER) {
            Ok(marks) => return marks,
            Err(error) => assert!(Instant::now() < deadline, "{topic}/{partition}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Reads all partitions of a topic, outside any group.
pub struct Reader {
    consumer: BaseConsumer,
    topic: String,
}

impl Reader {
    /// Reads everything that is written after this call.
    pub fn from_now(topic: &str) -> Self {
        Self::open(topic, false)
    }

    /// Everything there is.
    pub fn from_start(topic: &str) -> Self {
        Self::open(topic, true)
    }

    fn open(topic: &str, start: bool) -> Self {
        let mut config = config();
        config.set("group.id", "real-reader").set("enable.auto.commit", "false").set("fetch.wait.max.ms", "20");
        config.set("auto.offset.reset", "earliest");
        let consumer: BaseConsumer = config.create().unwrap();
        let metadata = consumer.fetch_metadata(Some(topic), BROKER).unwrap();
        let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        assert!(count > 0, "topic {topic} does not exist");
        let mut list = TopicPartitionList::new();
        for partition in 0..count as i32 {
            let (low, high) = watermarks(&consumer, topic, partition);
            let at = if start { low } else { high };
            list.add_partition_offset(topic, partition, Offset::Offset(at)).unwrap();
        }
        consumer.assign(&list).unwrap();
        Self { consumer, topic: topic.to_owned() }
    }

    /// How many records the topic holds.
    pub fn held(&self) -> i64 {
        let positions = self.consumer.assignment().unwrap();
        let marks = |p: i32| watermarks(&self.consumer, &self.topic, p);
        positions.elements().iter().map(|it| marks(it.partition())).map(|(low, high)| high - low).sum()
    }

    /// The next record, if one comes in time.
    pub fn poll(&self, within: Duration) -> Option<Record> {
        let deadline = Instant::now() + within;
        loop {
            match self.consumer.poll(deadline.saturating_duration_since(Instant::now()).min(Duration::from_millis(100)))
            {
                Some(Ok(message)) => {
                    let headers = message.headers().map(|headers| {
                        let owned = |header: Header<'_, &[u8]>| {
                            (header.key.to_owned(), header.value.unwrap_or_default().to_vec())
                        };
                        headers.iter().map(owned).collect()
                    });
                    return Some(Record {
                        payload: message.payload().unwrap_or_default().to_vec(),
                        key: message.key().map(<[u8]>::to_vec),
                        headers: headers.unwrap_or_default(),
                        partition: message.partition(),
                        offset: message.offset(),
                        timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
                    });
                }
                Some(Err(error)) => {
                    let gone = error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownTopicOrPartition);
                    assert!(!gone, "{}: {error}", self.topic);
                }
                None if Instant::now() >= deadline => return None,
                None => {}
            }
        }
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

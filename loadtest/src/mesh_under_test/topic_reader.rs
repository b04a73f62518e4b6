//! Reading topics as a client would.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers as _, Message as _};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;

use super::{BROKER_TIMEOUT, client_config};
use crate::error::LoadtestError;

/// A record of a topic.
#[derive(Clone, Debug)]
pub struct TopicRecord {
    /// Its value.
    pub payload: Vec<u8>,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its headers, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since 1970.
    pub timestamp_ms: i64,
}

impl TopicRecord {
    fn copied(message: &BorrowedMessage<'_>) -> Self {
        let owned = |header: Header<'_, &[u8]>| (header.key.to_owned(), header.value.unwrap_or_default().to_vec());
        let headers = message.headers().map(|headers| headers.iter().map(owned).collect());
        Self {
            payload: message.payload().unwrap_or_default().to_vec(),
            key: message.key().map(<[u8]>::to_vec),
            headers: headers.unwrap_or_default(),
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
        }
    }

    /// Its value as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    /// Its value as JSON; as a JSON string when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or_else(|_| Value::String(self.text()))
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_slice())
    }

    /// The value of a header as text; empty if there is none.
    #[must_use]
    pub fn header_text(&self, name: &str) -> String {
        String::from_utf8_lossy(self.header(name).unwrap_or_default()).into_owned()
    }

    /// Its `request_id`, if it is a result with one.
    #[must_use]
    pub fn request_id(&self) -> Option<String> {
        self.json()["request_id"].as_str().map(str::to_owned)
    }
}

/// Reads all partitions of a topic, outside any group.
pub struct TopicReader {
    consumer: BaseConsumer,
    topic: String,
}

impl std::fmt::Debug for TopicReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TopicReader").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl TopicReader {
    /// Reads everything that is written after this call.
    pub fn from_now(brokers: &str, topic: &str) -> Result<Self, LoadtestError> {
        Self::open(brokers, topic, |_, (_, high)| high)
    }

    /// Reads everything there is.
    pub fn from_start(brokers: &str, topic: &str) -> Result<Self, LoadtestError> {
        Self::open(brokers, topic, |_, (low, _)| low)
    }

    /// Reads everything there is, what open and aborted transactions hold as well.
    pub fn uncommitted_from_start(brokers: &str, topic: &str) -> Result<Self, LoadtestError> {
        Self::open_at_level(brokers, topic, "read_uncommitted", |_, (low, _)| low)
    }

    /// Reads from where `at` says, which gets each partition with its first and its next offset.
    pub fn open(brokers: &str, topic: &str, at: impl Fn(i32, (i64, i64)) -> i64) -> Result<Self, LoadtestError> {
        Self::open_at_level(brokers, topic, "read_committed", at)
    }

    fn open_at_level(
        brokers: &str,
        topic: &str,
        isolation_level: &str,
        at: impl Fn(i32, (i64, i64)) -> i64,
    ) -> Result<Self, LoadtestError> {
        let mut config = client_config(brokers);
        config.set("group.id", "real-reader").set("enable.auto.commit", "false").set("fetch.wait.max.ms", "20");
        config.set("auto.offset.reset", "earliest").set("isolation.level", isolation_level);
        config.set("enable.partition.eof", "true");
        let consumer: BaseConsumer = config.create().map_err(LoadtestError::kafka("create consumer"))?;
        let metadata = consumer.fetch_metadata(Some(topic), BROKER_TIMEOUT);
        let metadata = metadata.map_err(LoadtestError::kafka(format!("metadata of {topic}")))?;
        let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        if count == 0 {
            return Err(LoadtestError::Input(format!("topic {topic} does not exist")));
        }
        let mut list = TopicPartitionList::new();
        for partition in 0..i32::try_from(count).unwrap_or(i32::MAX) {
            let offset = at(partition, watermarks(&consumer, topic, partition)?);
            list.add_partition_offset(topic, partition, Offset::Offset(offset)).map_err(LoadtestError::kafka(topic))?;
        }
        consumer.assign(&list).map_err(LoadtestError::kafka(format!("assign {topic}")))?;
        Ok(Self { consumer, topic: topic.to_owned() })
    }

    /// How many records the topic holds.
    pub fn held(&self) -> Result<i64, LoadtestError> {
        let held = |partition| watermarks(&self.consumer, &self.topic, partition).map(|(low, high)| high - low);
        self.partitions()?.into_iter().map(held).sum()
    }

    /// The next record, if one comes in time; a topic that is gone is an error.
    pub fn poll(&self, within: Duration) -> Result<Option<TopicRecord>, LoadtestError> {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.consumer.poll(left.min(Duration::from_millis(100))) {
                Some(Ok(message)) => return Ok(Some(TopicRecord::copied(&message))),
                Some(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                    return Err(LoadtestError::kafka(self.topic.clone())(error));
                }
                None if Instant::now() >= deadline => return Ok(None),
                Some(Err(_)) | None => {}
            }
        }
    }

    /// Reads up to what the topic holds at the time of this call, and nothing that is written later. The ends of
    /// transactions have offsets too, so records are not counted.
    pub fn all(&self, within: Duration) -> Result<Vec<TopicRecord>, LoadtestError> {
        let deadline = Instant::now() + within;
        let mut open: HashMap<i32, i64> = HashMap::new();
        for partition in self.partitions()? {
            let (low, high) = watermarks(&self.consumer, &self.topic, partition)?;
            if high > low {
                open.insert(partition, high);
            }
        }
        let mut records = Vec::new();
        while !open.is_empty() {
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let end = open.get(&message.partition()).copied();
                    if end.is_some_and(|end| message.offset() < end) {
                        records.push(TopicRecord::copied(&message));
                    }
                    if end.is_some_and(|end| message.offset() + 1 >= end) {
                        open.remove(&message.partition());
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => _ = open.remove(&partition),
                Some(Err(_)) | None => {}
            }
            if Instant::now() >= deadline && !open.is_empty() {
                let text = format!("{}: the ends {open:?} are not reached within {within:?}", self.topic);
                return Err(LoadtestError::Input(text));
            }
        }
        Ok(records)
    }

    fn partitions(&self) -> Result<Vec<i32>, LoadtestError> {
        let positions = self.consumer.assignment().map_err(LoadtestError::kafka(&self.topic))?;
        Ok(positions.elements().iter().map(TopicPartitionListElem::partition).collect())
    }
}

/// The first and the next offset; a topic that was made a moment ago may have no leader yet.
fn watermarks(consumer: &BaseConsumer, topic: &str, partition: i32) -> Result<(i64, i64), LoadtestError> {
    let deadline = Instant::now() + BROKER_TIMEOUT;
    loop {
        match consumer.fetch_watermarks(topic, partition, BROKER_TIMEOUT) {
            Ok(marks) => return Ok(marks),
            Err(error) if Instant::now() >= deadline => {
                return Err(LoadtestError::kafka(format!("{topic}/{partition}"))(error));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

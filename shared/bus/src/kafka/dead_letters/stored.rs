//! Dead letters as they are stored in their topic, for the people who look after them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use forebay_contract::Stage;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use crate::kafka::client::{Client, Quiet};
use crate::kafka::record::{FOREIGN_NAME, RawRecord, copy_record};
use crate::kafka::source::ENDS_PROCESS;
use crate::stage_name;

const BROKER: Duration = Duration::from_secs(10);

/// Partition and offset of a dead letter in the topic of dead letters, written `PARTITION@OFFSET`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadLetterPlace {
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: u64,
}

impl fmt::Display for DeadLetterPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.partition, self.offset)
    }
}

impl FromStr for DeadLetterPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('@').and_then(|(partition, offset)| {
            let (partition, offset): (i32, i64) = (partition.parse().ok()?, offset.parse().ok()?);
            Some((u32::try_from(partition).ok()?, u64::try_from(offset).ok()?))
        });
        let (partition, offset) = numbers.ok_or_else(|| format!("{text:?} is no PARTITION@OFFSET, such as 2@17"))?;
        Ok(Self { partition, offset })
    }
}

/// Why dead letters cannot be read, replayed or purged.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// The broker does not answer, or refuses the request.
    #[error("topic {topic}: {source}")]
    Kafka {
        /// The topic of dead letters.
        topic: String,
        /// The client's error.
        source: KafkaError,
    },
    /// There is no such letter.
    #[error("there is no dead letter {0}: it was purged or is too old, or the place is wrong")]
    Missing(DeadLetterPlace),
}

/// A dead letter in its topic.
#[derive(Clone, Debug)]
pub struct StoredDeadLetter(RawRecord);

impl StoredDeadLetter {
    /// The letter that a record of the topic of dead letters is.
    pub fn new(record: RawRecord) -> Self {
        Self(record)
    }

    /// Where it is stored.
    pub fn place(&self) -> DeadLetterPlace {
        DeadLetterPlace { partition: self.0.partition, offset: self.0.offset }
    }

    /// When it was written, in Unix milliseconds.
    pub fn timestamp_ms(&self) -> i64 {
        self.0.timestamp_ms
    }

    /// The bytes of the original record.
    pub fn payload(&self) -> &Bytes {
        &self.0.payload
    }

    /// The key of the original record.
    pub fn key(&self) -> Option<&Bytes> {
        self.0.key.as_ref()
    }

    /// The last header of that name.
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.0.header(name)
    }

    fn text(&self, name: &str) -> Cow<'_, str> {
        self.header(name).map_or("?".into(), |value| String::from_utf8_lossy(value))
    }

    /// The stage that could not process the record.
    pub fn stage(&self) -> Cow<'_, str> {
        self.text("forebay-stage")
    }

    /// The error code.
    pub fn code(&self) -> Cow<'_, str> {
        self.text("forebay-code")
    }

    /// What was wrong.
    pub fn message(&self) -> Cow<'_, str> {
        self.text("__connect.errors.exception.message")
    }

    /// Whether its request was answered with an error when it was written: a stage between two topics has found that it ends
    /// its process.
    pub fn is_answered(&self) -> bool {
        // publishing's are the answers themselves
        let answering = [Stage::Preprocessing, Stage::Caching, Stage::Prediction];
        self.message() == ENDS_PROCESS && answering.map(stage_name).contains(&&*self.stage())
    }

    /// The topic, or the RabbitMQ queue, of the original record.
    pub fn topic(&self) -> Cow<'_, str> {
        self.text("__connect.errors.topic")
    }

    /// The partition of the original record.
    pub fn partition(&self) -> Option<i32> {
        self.text("__connect.errors.partition").parse().ok()
    }

    /// Topic, partition and offset of the original record, for display.
    pub fn origin(&self) -> String {
        let (partition, offset) = (self.text("__connect.errors.partition"), self.text("__connect.errors.offset"));
        format!("{}/{partition}@{offset}", self.topic())
    }

    /// Whether the original bytes are missing, because the letter was too large.
    pub fn is_truncated(&self) -> bool {
        self.header("forebay-truncated").is_some()
    }

    /// The headers of the original record: all but those of the letter. A name that is not UTF-8 has replacement
    /// characters.
    pub fn original_headers(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        let added = |name: &str| {
            matches!(name, "forebay-stage" | "forebay-code" | "forebay-truncated" | FOREIGN_NAME)
                || name.starts_with("__connect.errors.")
                || name.starts_with("kafka_dlt-")
        };
        let headers = self.0.headers.iter().map(|(name, value)| (name.as_str(), value));
        headers.filter(move |(name, _)| !added(name))
    }
}

/// Reads the letters at `places` of `topic`.
///
/// # Errors
/// When the broker does not answer, or a letter is not there.
pub fn read_letters(
    client: &Client,
    topic: &str,
    places: &[DeadLetterPlace],
) -> Result<Vec<StoredDeadLetter>, DeadLetterError> {
    let failed = |source| DeadLetterError::Kafka { topic: topic.to_owned(), source };
    let consumer: BaseConsumer<Quiet> =
        client.reader_of_partitions().create_with_context(Quiet::default()).map_err(failed)?;
    let mut arena = BytesMut::new();
    let mut read = |place: &DeadLetterPlace| {
        let (partition, offset) = (place.partition.cast_signed(), place.offset.cast_signed());
        let (low, high) = consumer.fetch_watermarks(topic, partition, BROKER).map_err(failed)?;
        if !(low..high).contains(&offset) {
            return Err(DeadLetterError::Missing(*place));
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(offset)).map_err(failed)?;
        consumer.assign(&list).map_err(failed)?;
        let deadline = Instant::now() + BROKER;
        while Instant::now() < deadline {
            let Some(Ok(record)) = consumer.poll(Duration::from_millis(100)) else { continue };
            if record.partition() == partition && record.offset() >= offset {
                let letter = (record.offset() == offset).then(|| StoredDeadLetter(copy_record(&record, &mut arena)));
                return letter.ok_or(DeadLetterError::Missing(*place));
            }
        }
        Err(failed(KafkaError::NoMessageReceived))
    };
    places.iter().map(&mut read).collect()
}

//! Reads the end of a topic once, which is how the window of answered requests is rebuilt.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::broker_contact::discard;
use super::client::{Client, Quiet};
use super::ffi::for_each_header;
use super::record::{RawRecord, copy_record};

const BROKER: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(50);

/// Why the end of a topic could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The broker does not answer, or refuses the request.
    #[error("topic {topic}: {source}")]
    Kafka {
        /// The topic.
        topic: String,
        /// The client's error.
        source: KafkaError,
    },
    /// The end was not reached within the limit.
    #[error("topic {topic}: the tail was not read to its end within {limit:?}")]
    Late {
        /// The topic.
        topic: String,
        /// The limit.
        limit: Duration,
    },
}

/// The part of a topic to read: from a record time, or a number of records before it, to its end.
#[derive(Clone, Copy, Debug)]
pub struct TailSpec<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Its partitions; empty means all of them.
    pub partitions: &'a [u32],
    /// Time of the first record, in milliseconds.
    pub since_ms: i64,
    /// Where the part of a partition ends, of those that are not read to the end of the topic.
    pub until: &'a [(u32, u64)],
    /// So many records of each partition are read before that one as well.
    pub before: u64,
    /// Whether transactions that are open at the end are waited for. They may still be committed, by a member of the group
    /// that has lost its partitions.
    pub await_transactions: bool,
}

/// Where the tail of a partition begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailRange {
    /// The partition.
    pub partition: u32,
    /// The first offset that the broker still has.
    pub low: u64,
    /// The first offset that is read.
    pub first: u64,
    /// Offset of the first record since the time, or the end.
    pub since: u64,
    /// The end when the tail was opened.
    pub end: u64,
}

/// A record of a tail, without a copy of it.
#[derive(Debug)]
pub struct TailRecord<'a>(&'a BorrowedMessage<'a>);

impl TailRecord<'_> {
    /// Calls `see` with the name and the value of every header, in the order of the record.
    pub fn for_each_header(&self, see: impl FnMut(&[u8], &[u8])) {
        for_each_header(self.0, see);
    }

    /// Its value.
    pub fn payload(&self) -> &[u8] {
        self.0.payload().unwrap_or_default()
    }

    /// Its partition.
    pub fn partition(&self) -> u32 {
        self.0.partition().unsigned_abs()
    }

    /// Its offset.
    pub fn offset(&self) -> u64 {
        self.0.offset().unsigned_abs()
    }

    /// Its timestamp in milliseconds; -1 when it has none.
    pub fn timestamp_ms(&self) -> i64 {
        self.0.timestamp().to_millis().unwrap_or(-1)
    }
}

/// The end of a topic, being read.
pub struct Tail {
    consumer: BaseConsumer<Quiet>,
    topic: String,
    ranges: Vec<TailRange>,
    open: Vec<(i32, u64)>,
    /// What is read once no transaction before its end is open any more.
    awaited: Option<TopicPartitionList>,
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail").field("topic", &self.topic).field("open", &self.open).finish_non_exhaustive()
    }
}

impl Tail {
    /// Finds where the tail begins. Blocks for at most three calls to the broker and one for each partition.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub fn open(client: &Client, spec: TailSpec<'_>) -> Result<Self, TailError> {
        let topic = spec.topic;
        let failed = |source| TailError::Kafka { topic: topic.to_owned(), source };
        let mut config = client.reader_of_partitions();
        // a record that retention removes meanwhile must not be stepped over, and a transaction's marker is no record
        config.set("auto.offset.reset", "error").set("enable.partition.eof", "true");
        // a record of a transaction that was aborted was never sent
        config.set("isolation.level", "read_committed");
        let consumer: BaseConsumer<Quiet> = config.create_with_context(Quiet::default()).map_err(failed)?;
        config.set("isolation.level", "read_uncommitted");
        let ends = spec.await_transactions.then(|| config.create_with_context(Quiet::default()));
        let ends: Option<BaseConsumer<Quiet>> = ends.transpose().map_err(failed)?;
        let mut partitions: Vec<i32> = spec.partitions.iter().map(|partition| partition.cast_signed()).collect();
        // without metadata, a client looks for the leaders of partitions at growing intervals before it reads offsets
        for reader in std::iter::once(&consumer).chain(&ends) {
            let metadata = reader.fetch_metadata(Some(topic), BROKER).map_err(failed)?;
            if partitions.is_empty() {
                partitions.extend(metadata.topics().iter().flat_map(|t| t.partitions().iter().map(|p| p.id())));
            }
        }
        let mut times = TopicPartitionList::new();
        for partition in &partitions {
            times.add_partition_offset(topic, *partition, Offset::Offset(spec.since_ms.max(0))).map_err(failed)?;
        }
        let starts = consumer.offsets_for_times(times, BROKER).map_err(failed)?;
        let mut list = TopicPartitionList::new();
        let (mut ranges, mut open) = (Vec::new(), Vec::new());
        for element in starts.elements() {
            let partition = element.partition();
            let knows_end = ends.as_ref().unwrap_or(&consumer);
            let (low, end) = knows_end.fetch_watermarks(topic, partition, BROKER).map_err(failed)?;
            let (low, end) = (low.unsigned_abs(), end.unsigned_abs());
            let until = spec.until.iter().find(|(until, _)| until.cast_signed() == partition);
            let end = until.map_or(end, |(_, until)| end.min(*until)).max(low);
            let since = match element.offset() {
                Offset::Offset(offset) => offset.unsigned_abs().clamp(low, end),
                _ => end,
            };
            let first = since.saturating_sub(spec.before).max(low);
            ranges.push(TailRange { partition: partition.unsigned_abs(), low, first, since, end });
            if first < end {
                open.push((partition, end));
                list.add_partition_offset(topic, partition, Offset::Offset(first.cast_signed())).map_err(failed)?;
            }
        }
        if !spec.await_transactions {
            consumer.assign(&list).map_err(failed)?;
        }
        let awaited = spec.await_transactions.then_some(list);
        Ok(Self { consumer, topic: topic.to_owned(), ranges, open, awaited })
    }

    /// The partitions with what is read of them.
    pub fn ranges(&self) -> &[TailRange] {
        &self.ranges
    }

    /// Hands records to `see` for about as long as `time`. Returns whether everything up to the end was read.
    ///
    /// # Errors
    /// When records that were to be read have been removed.
    pub fn read(&mut self, time: Duration, mut see: impl FnMut(&TailRecord<'_>)) -> Result<bool, TailError> {
        let deadline = Instant::now() + time;
        while let Some(list) = &self.awaited {
            if self.is_stable() {
                self.consumer.assign(list).map_err(|source| self.failed(source))?;
                self.awaited = None;
            } else if Instant::now() >= deadline {
                return Ok(false);
            } else {
                std::thread::sleep(POLL);
            }
        }
        while !self.open.is_empty() && Instant::now() < deadline {
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    let (partition, next) = (message.partition(), message.offset().unsigned_abs() + 1);
                    see(&TailRecord(&message));
                    self.open.retain(|(open, end)| *open != partition || next < *end);
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => self.open.retain(|(open, _)| *open != partition),
                Some(Err(source)) if source.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) => {
                    return Err(self.failed(source));
                }
                // the client keeps trying
                Some(Err(_)) | None => {}
            }
        }
        Ok(self.open.is_empty())
    }

    /// Ends it without waiting for the client to end, which takes a tenth of a second.
    pub fn discard(self) {
        discard(self);
    }

    /// Whether every transaction that was open when the tail was opened has ended.
    fn is_stable(&self) -> bool {
        // for a reader of committed records the end is where the first open transaction begins
        let stable = |(partition, end): &(i32, u64)| {
            let found = self.consumer.fetch_watermarks(&self.topic, *partition, BROKER);
            found.is_ok_and(|(_, stable)| stable.unsigned_abs() >= *end)
        };
        self.open.iter().all(stable)
    }

    fn failed(&self, source: KafkaError) -> TailError {
        TailError::Kafka { topic: self.topic.clone(), source }
    }
}

/// Hands every record of `topic` since `since_ms` (record time, milliseconds) to `see`, up to the current end of the
/// topic. `partitions` restricts it; empty means all of them. Blocks the thread for at most `limit`; returns how many
/// were read.
///
/// # Errors
/// When the broker does not answer, or the end is not reached in time.
pub fn read_since(
    client: &Client,
    topic: &str,
    partitions: &[u32],
    since_ms: i64,
    limit: Duration,
    mut see: impl FnMut(&RawRecord),
) -> Result<usize, TailError> {
    let spec = TailSpec { topic, partitions, since_ms, until: &[], before: 0, await_transactions: false };
    let mut tail = Tail::open(client, spec)?;
    let (mut read, mut arena) = (0, BytesMut::new());
    let ended = tail.read(limit, |record| {
        see(&copy_record(record.0, &mut arena));
        read += 1;
    })?;
    if ended { Ok(read) } else { Err(TailError::Late { topic: topic.to_owned(), limit }) }
}

//! Reads single batches of a partition, to learn which of them cannot be read and where they end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use super::is_unreadable;
use crate::kafka::client;

/// Longest time for one read.
const READ: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(100);

/// What is at an offset.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::kafka::source) enum Reading {
    /// A record, or a position that is gone.
    Record,
    /// No record: the end of the partition, and its offset.
    End(Option<i64>),
    /// A batch that cannot be read: its first offset, where the client names it, and why.
    Damaged {
        /// The first offset of the batch.
        base: Option<i64>,
        /// The client's reason.
        reason: String,
    },
}

/// Remembers the reason of the last error, which its code does not tell.
#[derive(Default)]
struct LastReason(Mutex<String>);

impl ClientContext for LastReason {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        client::log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        if is_unreadable(code) || code == Some(RDKafkaErrorCode::PartitionEOF) {
            reason.clone_into(&mut self.0.lock());
        }
    }
}

impl ConsumerContext for LastReason {}

/// Reads one partition, each time with a fresh client: nothing that was fetched before may be taken for an answer.
pub(in crate::kafka::source) struct BatchReader {
    config: ClientConfig,
    topic: Arc<str>,
    partition: i32,
}

impl BatchReader {
    pub(in crate::kafka::source) fn new(config: &ClientConfig, topic: &Arc<str>, partition: i32) -> Self {
        let mut config = config.clone();
        // it is no member of the group
        config.remove("group.instance.id");
        config.set("enable.partition.eof", "true").set("enable.auto.commit", "false");
        config.set("statistics.interval.ms", "0");
        Self { config, topic: Arc::clone(topic), partition }
    }

    fn open(&self) -> KafkaResult<BaseConsumer<LastReason>> {
        self.config.create_with_context(LastReason::default())
    }

    /// What is at `offset`.
    pub(super) fn read(&self, offset: i64) -> KafkaResult<Reading> {
        let consumer = self.open()?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, self.partition, Offset::Offset(offset))?;
        consumer.assign(&list)?;
        let deadline = Instant::now() + READ;
        while Instant::now() < deadline {
            match consumer.poll(STEP) {
                Some(Ok(_)) => return Ok(Reading::Record),
                Some(Err(KafkaError::PartitionEOF(_))) => {
                    return Ok(Reading::End(base_offset(&consumer.context().0.lock())));
                }
                // a position that is gone is not examined here
                Some(Err(error)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) => {
                    return Ok(Reading::Record);
                }
                Some(Err(error)) if is_unreadable(error.rdkafka_error_code()) => {
                    let reason = std::mem::take(&mut *consumer.context().0.lock());
                    return Ok(Reading::Damaged { base: base_offset(&reason), reason });
                }
                _ => {}
            }
        }
        Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut))
    }

    /// Whether `offset` is in the damaged batch that begins at `base`; `None` without an answer.
    pub(super) fn is_within(&self, offset: i64, base: Option<i64>) -> Option<bool> {
        match self.read(offset).ok()? {
            Reading::Record | Reading::End(_) => Some(false),
            Reading::Damaged { base: other, .. } => Some(other.is_none() || other == base),
        }
    }

    /// The end of the partition, if there is no record from `offset` on.
    pub(in crate::kafka::source) fn end_without_records(&self, offset: i64) -> Option<i64> {
        match self.read(offset) {
            Ok(Reading::End(end)) => end.filter(|end| *end > offset),
            _ => None,
        }
    }

    /// The end of the partition.
    pub(super) fn end(&self) -> Option<i64> {
        let consumer = self.open().ok()?;
        consumer.fetch_watermarks(&self.topic, self.partition, READ).ok().map(|(_, end)| end)
    }
}

/// The first offset of the batch that an error is about.
pub(super) fn base_offset(reason: &str) -> Option<i64> {
    // "MessageSet at offset 7 (...", "Decompression (codec 0x4) of message at 7 of ...", "... end of partition at offset 7"
    let (_, rest) = reason.split_once("at offset ").or_else(|| reason.split_once("message at "))?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The codec that an error names.
pub(super) fn codec(reason: &str) -> Option<&'static str> {
    let (_, rest) = reason.split_once("codec 0x")?;
    let number = rest.split(|c: char| !c.is_ascii_hexdigit()).next()?;
    let names = ["none", "gzip", "snappy", "lz4", "zstd"];
    let number = usize::from_str_radix(number, 16).ok()?;
    Some(names.get(number).copied().unwrap_or("unknown"))
}

/// The first offset after `first` that is not within the same batch, which ends at `end` at the latest; `None` when
/// `is_within` cannot tell. The number of questions grows with the logarithm of the batch's length.
pub(super) fn first_behind(first: i64, end: i64, is_within: impl Fn(i64) -> Option<bool>) -> Option<i64> {
    let (mut inside, mut outside, mut step) = (first, end.max(first + 1), 1);
    while inside + step < outside {
        if is_within(inside + step)? {
            inside += step;
            step *= 2;
        } else {
            outside = inside + step;
        }
    }
    while inside + 1 < outside {
        let middle = inside + (outside - inside) / 2;
        if is_within(middle)? { inside = middle } else { outside = middle }
    }
    Some(outside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_where_its_batch_begins_and_its_codec() {
        let crc = "MessageSet at offset 41 (120 bytes) failed CRC32C check (original 0x1 != calculated 0x2)";
        assert_eq!((base_offset(crc), codec(crc)), (Some(41), None));
        let zstd = "Decompression (codec 0x4) of message at 7 of 8221 bytes failed: Local: Invalid compressed data";
        assert_eq!((base_offset(zstd), codec(zstd)), (Some(7), Some("zstd")));
        assert_eq!(codec(&zstd.replace("0x4", "0x7")), Some("unknown"));
        assert_eq!((base_offset("Fetch failed"), codec("Fetch failed")), (None, None));
    }

    #[test]
    fn the_end_of_a_batch_is_found() {
        for (first, next, end) in
            [(0, 1, 1), (0, 1, 9), (5, 6, 100), (5, 100, 100), (7, 263, 1_000), (0, 999_999, 1_000_000)]
        {
            let questions = std::cell::Cell::new(0);
            let within = |at: i64| {
                assert!(at > first && at < end, "{at} is known");
                questions.set(questions.get() + 1);
                Some(at < next)
            };
            assert_eq!(first_behind(first, end, within), Some(next));
            assert!(questions.get() <= 42, "{} questions", questions.get());
        }
        assert_eq!(first_behind(0, 9, |_| None), None);
    }
}

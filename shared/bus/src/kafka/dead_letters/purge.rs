//! Deletes dead letters. Kafka deletes from the beginning of a partition up to an offset, never single records.

use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::stored::{DeadLetterError, DeadLetterPlace};
use crate::kafka::client::{Client, Quiet};

const BROKER: Duration = Duration::from_secs(15);

/// Which letters are purged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PurgeUpTo {
    /// All of them.
    End,
    /// Those written before this time, in Unix milliseconds.
    Time(i64),
    /// Those up to and including these, in their partitions alone.
    Places(Vec<DeadLetterPlace>),
}

/// DeadLetterTopic at the beginning of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetterRange {
    /// The partition.
    pub partition: i32,
    /// Offset of the first letter.
    pub first: i64,
    /// Offset behind the last letter.
    pub end: i64,
}

/// The letters of `topic` that would be purged, without the partitions that have none.
///
/// # Errors
/// When the broker does not answer.
pub fn letters_up_to(client: &Client, topic: &str, up_to: &PurgeUpTo) -> Result<Vec<DeadLetterRange>, DeadLetterError> {
    let ranges = || -> Result<Vec<DeadLetterRange>, KafkaError> {
        let consumer: BaseConsumer<Quiet> = client.reader_of_partitions().create_with_context(Quiet::default())?;
        let metadata = consumer.fetch_metadata(Some(topic), BROKER)?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id());
        let mut ranges = Vec::new();
        for partition in partitions {
            let (first, last) = consumer.fetch_watermarks(topic, partition, BROKER)?;
            let end = match up_to {
                PurgeUpTo::End => last,
                PurgeUpTo::Time(ms) => offset_at(&consumer, topic, partition, *ms)?.unwrap_or(last),
                PurgeUpTo::Places(places) => {
                    let here = places.iter().filter(|place| place.partition == partition.unsigned_abs());
                    here.map(|place| place.offset.cast_signed().saturating_add(1)).max().unwrap_or(first).min(last)
                }
            };
            ranges.extend((end > first).then_some(DeadLetterRange { partition, first, end }));
        }
        Ok(ranges)
    };
    ranges().map_err(|source| DeadLetterError::Kafka { topic: topic.to_owned(), source })
}

/// Offset of the first record at or after a time; `None` if there is none.
fn offset_at(consumer: &BaseConsumer<Quiet>, topic: &str, partition: i32, ms: i64) -> Result<Option<i64>, KafkaError> {
    let mut times = TopicPartitionList::new();
    times.add_partition_offset(topic, partition, Offset::Offset(ms.max(0)))?;
    let found = consumer.offsets_for_times(times, BROKER)?;
    let element = found.find_partition(topic, partition);
    Ok(element.and_then(|it| match it.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }))
}

/// Deletes the letters of `ranges`.
///
/// # Errors
/// When the broker does not answer or refuses.
pub fn purge_letters(client: &Client, topic: &str, ranges: &[DeadLetterRange]) -> Result<(), DeadLetterError> {
    let purge = || -> Result<(), KafkaError> {
        let admin: AdminClient<Quiet> = client.admin().create_with_context(Quiet::default())?;
        let mut offsets = TopicPartitionList::new();
        for range in ranges {
            offsets.add_partition_offset(topic, range.partition, Offset::Offset(range.end))?;
        }
        let options = AdminOptions::new().operation_timeout(Some(BROKER)).request_timeout(Some(BROKER));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        let done = runtime.block_on(admin.delete_records(&offsets, &options))?;
        done.elements().iter().try_for_each(|element| element.error())
    };
    if ranges.is_empty() {
        return Ok(());
    }
    purge().map_err(|source| DeadLetterError::Kafka { topic: topic.to_owned(), source })
}

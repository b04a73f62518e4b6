//! Reads the end of a topic once, which is how the window of answered requests is rebuilt.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::client::{Client, Quiet};
use super::record::{RawRecord, copy_record};

const BROKER: Duration = Duration::from_secs(5);

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
    let failed = |source| TailError::Kafka { topic: topic.to_owned(), source };
    let consumer: BaseConsumer<Quiet> =
        client.reader_of_partitions().create_with_context(Quiet::default()).map_err(failed)?;
    let mut partitions: Vec<i32> = partitions.iter().map(|partition| partition.cast_signed()).collect();
    if partitions.is_empty() {
        let metadata = consumer.fetch_metadata(Some(topic), BROKER).map_err(failed)?;
        partitions.extend(metadata.topics().iter().flat_map(|t| t.partitions().iter().map(|p| p.id())));
    }
    let mut times = TopicPartitionList::new();
    for partition in &partitions {
        times.add_partition_offset(topic, *partition, Offset::Offset(since_ms.max(0))).map_err(failed)?;
    }
    let starts = consumer.offsets_for_times(times, BROKER).map_err(failed)?;
    let mut open = Vec::new();
    let mut list = TopicPartitionList::new();
    for element in starts.elements() {
        let Offset::Offset(start) = element.offset() else { continue };
        let (_, end) = consumer.fetch_watermarks(topic, element.partition(), BROKER).map_err(failed)?;
        if start < end {
            open.push((element.partition(), end));
            list.add_partition_offset(topic, element.partition(), Offset::Offset(start)).map_err(failed)?;
        }
    }
    consumer.assign(&list).map_err(failed)?;
    let deadline = Instant::now() + limit;
    let (mut read, mut arena) = (0, BytesMut::new());
    while !open.is_empty() {
        if Instant::now() > deadline {
            return Err(TailError::Late { topic: topic.to_owned(), limit });
        }
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) else { continue };
        let (partition, offset) = (message.partition(), message.offset());
        see(&copy_record(&message, &mut arena));
        read += 1;
        open.retain(|(p, end)| *p != partition || offset + 1 < *end);
    }
    Ok(read)
}

//! Where a group begins in partitions for which it has committed nothing.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::{BROKER, Positions};
use crate::kafka::source::SourceContext;

/// Between two questions to a leader that is being elected.
const AGAIN: Duration = Duration::from_millis(50);

/// Where a group begins in a partition without a committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GroupStart {
    Beginning,
    /// The group reads the topic for the first time.
    Now,
    /// The group began at this time, in milliseconds since the epoch.
    At(i64),
}

impl Positions {
    /// The first offset that belongs to the group in a partition without a committed one. A leader that is being elected
    /// is waited for: requests in between would be lost otherwise.
    pub(super) fn first_of(
        &self,
        consumer: &BaseConsumer<SourceContext>,
        key: i32,
        group: GroupStart,
        deadline: Instant,
    ) -> KafkaResult<i64> {
        let (topic, partition) = self.topics.of(key);
        loop {
            let found = match group {
                GroupStart::Beginning => consumer.fetch_watermarks(topic, partition, BROKER).map(|(low, _)| low),
                GroupStart::At(start_ms) => self.at_time(consumer, key, start_ms),
                GroupStart::Now => consumer.fetch_watermarks(topic, partition, BROKER).map(|(low, end)| {
                    let left = end - low;
                    tracing::info!(
                        topic,
                        partition,
                        end,
                        left,
                        "a new group starts at the end, older records are left"
                    );
                    end
                }),
            };
            match found {
                Err(_) if Instant::now() < deadline => std::thread::sleep(AGAIN),
                found => return found,
            }
        }
    }

    /// The offset of the first record with this timestamp or a later one; the end if there is none.
    pub(super) fn at_time(&self, consumer: &BaseConsumer<SourceContext>, key: i32, time_ms: i64) -> KafkaResult<i64> {
        let (topic, partition) = self.topics.of(key);
        let mut times = TopicPartitionList::new();
        times.add_partition_offset(topic, partition, Offset::Offset(time_ms.max(0)))?;
        let found = consumer.offsets_for_times(times, BROKER)?;
        let element = found.find_partition(topic, partition);
        if let Some(Offset::Offset(offset)) = element.map(|element| element.offset()) {
            return Ok(offset);
        }
        consumer.fetch_watermarks(topic, partition, BROKER).map(|(_, end)| end)
    }

    /// The number of partitions of the topic, or of the lane that has the most.
    pub(super) fn partition_count(&self, consumer: &BaseConsumer<SourceContext>) -> KafkaResult<i32> {
        let count = |topic| -> KafkaResult<i32> {
            let metadata = consumer.fetch_metadata(Some(topic), BROKER)?;
            Ok(metadata.topics().iter().map(|topic| topic.partitions().len() as i32).max().unwrap_or_default())
        };
        self.topics.names().into_iter().map(count).try_fold(0, |most, count| Ok(most.max(count?)))
    }

    /// Whether the partition was added after the group had begun, so that all of it belongs to the group, whatever the
    /// clocks of its clients say.
    pub(super) fn was_added(&self, key: i32) -> bool {
        let partitions = self.group_start_partitions.load(Ordering::Acquire);
        partitions > 0 && self.topics.of(key).1 >= partitions
    }
}

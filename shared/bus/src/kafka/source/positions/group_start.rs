//! Where a group begins in partitions for which it has committed nothing.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};
use rustc_hash::FxHashMap;

use super::{BROKER, Positions};
use crate::kafka::source::SourceContext;

/// Between two questions to a leader that is being elected.
const AGAIN: Duration = Duration::from_millis(50);

/// Longest wait for the beginnings of partitions, which the client can also ask for itself.
const SOON: Duration = Duration::from_millis(500);

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
                    match end - low {
                        0 => tracing::info!(topic, partition, end, "a new group starts at the end"),
                        left => tracing::warn!(
                            topic,
                            partition,
                            end,
                            left,
                            "a new group starts at the end, older records are left (ingestion.initial_offset)"
                        ),
                    }
                    end
                }),
            };
            match found {
                Err(_) if Instant::now() < deadline => std::thread::sleep(AGAIN),
                found => return found,
            }
        }
    }

    /// The first offsets of partitions, of those whose leaders tell them soon. A client that has to ask for them itself
    /// fetches from the partition that is answered first alone, and from the others only when the broker has let that
    /// request wait for its whole time.
    pub(super) fn beginnings(&self, consumer: &BaseConsumer<SourceContext>, keys: &[i32]) -> FxHashMap<i32, i64> {
        let (mut known, deadline) = (FxHashMap::default(), Instant::now() + SOON);
        // a call for several partitions fails if one of them has no answer
        let (mut together, mut limit) = (keys.len(), SOON / 2);
        loop {
            let unknown: Vec<i32> = keys.iter().copied().filter(|key| !known.contains_key(key)).collect();
            for some in unknown.chunks(together.max(1)) {
                let left = deadline.saturating_duration_since(Instant::now());
                match self.offsets_at(consumer, some, Offset::Beginning, left.min(limit)) {
                    Ok(found) => known.extend(found),
                    Err(error) => {
                        tracing::debug!(topic = &**self.topics.base(), %error, "beginnings are not known yet")
                    }
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if known.len() == keys.len() || left.is_zero() {
                return known;
            }
            // the leader of a topic that was made a moment ago does not know it yet
            std::thread::sleep(AGAIN.min(left));
            (together, limit) = (1, SOON / 5);
        }
    }

    /// The ends of partitions of a topic of clients, of those that are known soon: what stands behind them was written after
    /// this call.
    pub(in crate::kafka::source) fn ends(
        &self,
        consumer: &BaseConsumer<SourceContext>,
        keys: &[i32],
    ) -> Vec<(i32, i64)> {
        if !self.of_clients || keys.is_empty() {
            return Vec::new();
        }
        self.offsets_at(consumer, keys, Offset::End, SOON).unwrap_or_else(|error| {
            tracing::debug!(topic = &**self.topics.base(), %error, "the ends of partitions are not known");
            Vec::new()
        })
    }

    /// The first or the last offsets of `keys`, with one request to each leader.
    fn offsets_at(
        &self,
        consumer: &BaseConsumer<SourceContext>,
        keys: &[i32],
        at: Offset,
        limit: Duration,
    ) -> KafkaResult<Vec<(i32, i64)>> {
        let mut list = TopicPartitionList::with_capacity(keys.len());
        for key in keys {
            // the client passes on what stands for the beginning or the end in place of a time
            self.topics.add_offset(&mut list, *key, at)?;
        }
        let found = consumer.offsets_for_times(list, limit)?;
        let first = |element: TopicPartitionListElem<'_>| {
            let first = element.offset().to_raw().filter(|first| *first >= 0 && element.error().is_ok())?;
            Some((self.topics.key(element.topic(), element.partition()), first))
        };
        Ok(found.elements().into_iter().filter_map(first).collect())
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

//! Partitions that are held back, because their oldest work does not end.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;

use super::SourceContext;
use super::topics::SourceTopics;
use crate::EdgeEvents;
use crate::kafka::offset_tracker::OffsetTracker;

/// The partitions of a source that are paused one by one; the others flow.
#[derive(Debug)]
pub(super) struct Holds {
    after: Duration,
    paused: Vec<i32>,
}

impl Holds {
    pub(super) fn new(after: Duration) -> Self {
        Self { after, paused: Vec::new() }
    }

    /// Pauses the partitions that are too far ahead of their watermark, and resumes those that are not any more.
    pub(super) fn update(
        &mut self,
        consumer: &BaseConsumer<SourceContext>,
        topics: &SourceTopics,
        offsets: &OffsetTracker,
        events: &dyn EdgeEvents,
    ) {
        let held = offsets.held_back(Instant::now(), self.after);
        if held.is_empty() && self.paused.is_empty() {
            return;
        }
        let (topic, assigned) = (&**topics.base(), offsets.assigned());
        let released = |partition: &i32| {
            !held.contains(partition) && assigned.contains(partition) && !consumer.context().is_leaving(*partition)
        };
        let free: Vec<i32> = self.paused.iter().copied().filter(released).collect();
        // those that are held already as well: an assignment or a resumption of all of them may have come between
        apply(topics, &held, |list| consumer.pause(list));
        apply(topics, &free, |list| consumer.resume(list));
        if held != self.paused {
            tracing::warn!(topic, held = topics.shown(&held), "partitions held back until their oldest work ends");
        }
        self.paused = held;
        if self.paused.is_empty() {
            events.ready();
        } else {
            let (partitions, after) = (topics.shown(&self.paused), self.after);
            events.unready(&format!(
                "topic {topic}: partitions {partitions} are held back, their oldest work takes longer than {after:?}"
            ));
        }
    }
}

fn apply(topics: &SourceTopics, partitions: &[i32], change: impl Fn(&TopicPartitionList) -> Result<(), KafkaError>) {
    if partitions.is_empty() {
        return;
    }
    if let Err(error) = change(&topics.list(partitions)) {
        tracing::debug!(topic = &**topics.base(), partitions = topics.shown(partitions), %error, "pause or resume refused");
    }
}

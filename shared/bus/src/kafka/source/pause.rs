//! Pauses the reading of partitions, and resumes it.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;

use super::isolation::seek_back;
use super::member::Member;
use super::{Intake, SourceContext};

impl<I: Intake> Member<I> {
    /// Polls without taking records, so that rebalances are served and the member stays in the group.
    pub(super) fn serve_paused(&mut self, wait: Duration) {
        self.pause();
        let consumer = Arc::clone(&self.consumer);
        match consumer.poll(wait.max(Duration::from_millis(1))) {
            Some(Ok(message)) => {
                // fetched before the pause took effect: read again after it
                seek_back(&consumer, &message);
                self.on_assignment(|consumer, list| consumer.pause(list));
            }
            Some(Err(error)) => self.note(&error),
            None => {}
        }
    }

    pub(super) fn pause(&mut self) {
        if !self.paused {
            self.paused = true;
            self.on_assignment(|consumer, list| consumer.pause(list));
        }
    }

    pub(super) fn resume(&mut self) {
        if std::mem::take(&mut self.paused) {
            self.on_assignment(|consumer, list| consumer.resume(&self.staying(list)));
            self.holds.update(&self.consumer, &self.topics, &self.offsets, self.events.as_ref());
        }
    }

    /// `list` without the partitions that are leaving, which stay paused.
    pub(super) fn staying(&self, list: &TopicPartitionList) -> TopicPartitionList {
        let mut keys = self.topics.keys(list);
        keys.retain(|key| !self.consumer.context().is_leaving(*key));
        self.topics.list(&keys)
    }

    fn on_assignment(
        &self,
        change: impl Fn(&BaseConsumer<SourceContext>, &TopicPartitionList) -> Result<(), KafkaError>,
    ) {
        if let Ok(list) = self.consumer.assignment()
            && let Err(error) = change(&self.consumer, &list)
        {
            tracing::debug!(topic = &*self.topic, %error, "pause or resume refused");
        }
    }
}

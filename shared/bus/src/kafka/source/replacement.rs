//! What a source does when its client or a position is of no more use.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};

use super::lanes::LaneQueues;
use super::member::Member;
use super::positions::{ReadUpTo, ResumeAt};
use super::rebalance::{assign, unassign};
use super::{CLOSE, Intake, SourceContext};
use crate::kafka::broker_contact::discard;

/// Interval between two checks whether the topic is still the one that was assigned.
const CHECK_TOPIC: Duration = Duration::from_secs(5);

impl<I: Intake> Member<I> {
    /// Notices that the topic was deleted and created again, of which the client says nothing: it continues at its old position,
    /// which means nothing in the new topic.
    pub(super) fn check_topic(&mut self) {
        if self.topic_checked.elapsed() < CHECK_TOPIC {
            return;
        }
        self.topic_checked = Instant::now();
        let assigned = self.offsets.assigned();
        self.position_lost |= !assigned.is_empty() && self.positions.is_other_topic(&self.consumer, &assigned);
    }

    /// Continues where the topic has records again, after the client has reported that a position is gone.
    pub(super) fn recover_positions(&mut self) {
        if !self.position_lost {
            return;
        }
        let assigned = self.offsets.assigned();
        let _waiting = self.heartbeat.waiting(CLOSE * (3 * u32::try_from(assigned.len()).unwrap_or(1_000) + 3));
        let recovered = self.positions.recover(&self.consumer, &assigned).and_then(|resumed| {
            for at in resumed.iter().filter(|at| at.moved) {
                let generation = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
                self.offsets.move_position(at.partition, generation);
            }
            self.reassign(&resumed)
        });
        match recovered {
            Ok(()) => self.position_lost = false,
            // tried again with the next tick
            Err(error) => tracing::warn!(topic = &*self.topic, %error, "lost positions cannot be replaced yet"),
        }
    }

    /// Gives partitions new positions. The client refuses to seek in one whose position is gone.
    fn reassign(&self, resumed: &[ResumeAt]) -> KafkaResult<()> {
        let mut list = TopicPartitionList::with_capacity(resumed.len());
        for at in resumed {
            self.topics.add_offset(&mut list, at.partition, Offset::Offset(at.offset))?;
        }
        unassign(&self.consumer, &list)?;
        assign(&self.consumer, &list)
    }

    /// Replaces a client that has lost its brokers for good.
    pub(super) fn replace_dead_client(&mut self) {
        let contact = &self.consumer.context().contact;
        if !self.dead_client.is_dead(self.consumer.client(), contact, &self.heartbeat) {
            return;
        }
        let context = self.consumer.context().successor();
        let created = self.config.create_with_context(context).and_then(|consumer: BaseConsumer<SourceContext>| {
            consumer.subscribe(&self.topics.names())?;
            Ok(Arc::new(consumer))
        });
        match created {
            Ok(consumer) => {
                self.lanes.iter_mut().for_each(LaneQueues::clear);
                let dead = std::mem::replace(&mut self.consumer, consumer);
                dead.context().replaced();
                self.paused = false;
                self.events.client_replaced("consumer");
                discard(dead);
            }
            Err(error) => tracing::warn!(topic = &*self.topic, %error, "client cannot be replaced yet"),
        }
    }
}

/// Notes a record in what its round has read.
pub(super) fn note_read(read: &mut Vec<(i32, ReadUpTo)>, key: i32, message: &BorrowedMessage<'_>) {
    let up_to = ReadUpTo { next: message.offset() + 1, latest_ms: message.timestamp().to_millis() };
    match read.iter_mut().find(|(known, _)| *known == key) {
        Some((_, known)) => *known = ReadUpTo { next: up_to.next, latest_ms: known.latest_ms.max(up_to.latest_ms) },
        None => read.push((key, up_to)),
    }
}

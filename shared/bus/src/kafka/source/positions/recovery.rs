//! Where reading continues when the topic no longer has a position.

use rdkafka::Offset;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;

use super::topic_ids::differ;
use super::{BROKER, Positions, ReadUpTo};
use crate::kafka::source::SourceContext;

/// Where reading of a partition continues, and whether that is not where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kafka::source) struct ResumeAt {
    pub(in crate::kafka::source) partition: i32,
    pub(in crate::kafka::source) offset: i64,
    pub(in crate::kafka::source) moved: bool,
}

/// Why a topic does not have a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    /// The records up to the low watermark were removed.
    Removed,
    /// The topic was deleted and created again: all of it is new.
    Recreated,
    /// The topic ends before the position: its log was truncated, or it was created again by a broker that tells no ids.
    /// Records that are later than the last one read are new in either case.
    Shorter,
}

/// What became of the position `next` in a log that holds the offsets from `low` up to `end`.
fn lost(next: i64, low: i64, end: i64) -> Option<Lost> {
    if next > end {
        return Some(Lost::Shorter);
    }
    (next < low).then_some(Lost::Removed)
}

impl Positions {
    /// Where each partition continues after the client has reported a position that the topic does not have. The client
    /// does not say which partition it means, so all positions are compared with their watermarks.
    pub(in crate::kafka::source) fn recover(
        &self,
        consumer: &BaseConsumer<SourceContext>,
        assigned: &[i32],
    ) -> KafkaResult<Vec<ResumeAt>> {
        let current = self.topic_ids.current(consumer);
        let known = |partition: &i32| self.read.lock().get(partition).copied();
        let unknown: Vec<i32> = assigned.iter().filter(|partition| known(partition).is_none()).copied().collect();
        let mut resumed = Vec::with_capacity(assigned.len());
        for (partition, offset) in self.look_up(consumer, &unknown)? {
            let offset = match offset {
                Offset::Offset(offset) => offset,
                _ => self.watermarks(consumer, partition)?.0,
            };
            resumed.push(ResumeAt { partition, offset, moved: true });
        }
        for partition in assigned.iter().copied().filter(|partition| !unknown.contains(partition)) {
            let Some(read) = known(&partition) else { continue };
            let (low, end) = self.watermarks(consumer, partition)?;
            let lost = if differ(self.topic_ids.of(partition), current.of(partition)) {
                Some(Lost::Recreated)
            } else {
                lost(read.next, low, end)
            };
            let offset = match lost {
                None => read.next,
                Some(Lost::Removed | Lost::Recreated) => low,
                Some(Lost::Shorter) => self.at_time(consumer, partition, read.latest_ms.map_or(0, |at| at + 1))?,
            };
            if let Some(lost) = lost {
                self.report(partition, read.next, offset, lost);
            }
            resumed.push(ResumeAt { partition, offset, moved: lost.is_some() });
        }
        self.topic_ids.note(assigned, &current);
        let mut read = self.read.lock();
        for at in &resumed {
            read.entry(at.partition).or_insert(ReadUpTo { next: at.offset, latest_ms: None }).next = at.offset;
        }
        Ok(resumed)
    }

    fn watermarks(&self, consumer: &BaseConsumer<SourceContext>, key: i32) -> KafkaResult<(i64, i64)> {
        let (topic, partition) = self.topics.of(key);
        consumer.fetch_watermarks(topic, partition, BROKER)
    }

    pub(super) fn report(&self, key: i32, position: i64, resume: i64, lost: Lost) {
        let (topic, partition) = self.topics.of(key);
        let records = match lost {
            Lost::Removed => (resume - position).unsigned_abs(),
            Lost::Recreated | Lost::Shorter => 0,
        };
        match lost {
            Lost::Removed => {
                tracing::error!(
                    topic,
                    partition,
                    position,
                    resume,
                    records,
                    "records were removed before they were read"
                );
            }
            Lost::Recreated => {
                tracing::error!(topic, partition, position, resume, "topic was created again, reading all of it");
            }
            Lost::Shorter => {
                tracing::error!(topic, partition, position, resume, "topic is truncated, reading what is new in it");
            }
        }
        self.events.position_lost(topic, records);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_outside_of_the_log_is_lost() {
        assert_eq!(lost(5, 0, 10), None);
        assert_eq!(lost(5, 5, 5), None);
        assert_eq!(lost(4, 5, 10), Some(Lost::Removed));
        assert_eq!(lost(11, 0, 10), Some(Lost::Shorter));
    }
}

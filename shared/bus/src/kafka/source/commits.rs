//! What a transaction needs of the source whose records it answers: the offsets to commit, and the proof of membership that
//! lets the broker refuse a member whose partitions have another owner.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};

use super::SourceContext;
use super::positions::Positions;
use crate::kafka::ffi::member_id;
use crate::kafka::offset_tracker::{ConsumedOffset, OffsetTracker};

/// Filled when the source starts.
pub(crate) type CommitsSlot = Arc<OnceLock<Arc<SourceCommits>>>;

/// The offsets of a source that transactions commit.
pub(crate) struct SourceCommits {
    group: String,
    offsets: Arc<OffsetTracker>,
    positions: Arc<Positions>,
    membership: Mutex<Option<Arc<ConsumerGroupMetadata>>>,
}

impl SourceCommits {
    pub(super) fn new(group: &str, offsets: Arc<OffsetTracker>, positions: Arc<Positions>) -> Self {
        Self { group: group.to_owned(), offsets, positions, membership: Mutex::default() }
    }

    /// Notes which member of the group `consumer` is, in which generation. One that was thrown out and has not joined
    /// again keeps its last membership, which the broker refuses: without one it would accept every commit.
    pub(super) fn note_membership(&self, consumer: &BaseConsumer<SourceContext>) {
        let before = member_id(consumer.client());
        let metadata = consumer.group_metadata();
        if before.is_some()
            && let Some(metadata) = metadata
            && member_id(consumer.client()) == before
        {
            *self.membership.lock() = Some(Arc::new(metadata));
        }
    }

    /// The consumer group.
    pub(crate) fn group(&self) -> &str {
        &self.group
    }

    /// The membership as last noted; never newer than what the source knows of its partitions.
    pub(crate) fn membership(&self) -> Option<Arc<ConsumerGroupMetadata>> {
        self.membership.lock().clone()
    }

    /// The records in flight.
    pub(crate) fn offsets(&self) -> &Arc<OffsetTracker> {
        &self.offsets
    }

    /// `offsets` as a transaction commits them, with what a successor has to know and the transaction's name.
    pub(crate) fn to_commit(&self, offsets: &[ConsumedOffset], transaction: &str) -> TopicPartitionList {
        let pairs: Vec<(i32, i64)> = offsets.iter().map(|it| (it.source.partition, it.offset)).collect();
        let mut named = TopicPartitionList::with_capacity(pairs.len());
        for element in self.positions.to_commit(&pairs).elements() {
            let metadata = format!("{} {TRANSACTION}{transaction}", element.metadata());
            let mut copy = named.add_partition(element.topic(), element.partition());
            // an offset that a broker gave is never refused
            let _ = copy.set_offset(element.offset());
            copy.set_metadata(metadata.trim_start());
        }
        named
    }

    /// The partitions of `offsets`, without their offsets.
    pub(crate) fn partitions_of(&self, offsets: &[ConsumedOffset]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        offsets.iter().for_each(|it| _ = self.positions.topics().add(&mut list, it.source.partition));
        list
    }
}

const TRANSACTION: &str = "transaction=";

/// Whether a commit's metadata names `transaction`.
pub(crate) fn names_transaction(metadata: &str, transaction: &str) -> bool {
    metadata.split_whitespace().any(|word| word.strip_prefix(TRANSACTION) == Some(transaction))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NoEvents;
    use crate::ack::SourcePartition;
    use crate::kafka::source::SourceTopics;
    use crate::kafka::source::positions::ReadUpTo;

    #[test]
    fn a_commit_in_a_transaction_says_what_positions_need_and_names_the_transaction() {
        let events: Arc<dyn crate::EdgeEvents> = Arc::new(NoEvents);
        let positions = Arc::new(Positions::new(&SourceTopics::one("outcomes"), false, &events));
        positions.has_read(&[(1, ReadUpTo { next: 9, latest_ms: Some(17) })]);
        let commits = SourceCommits::new("group", Arc::default(), positions);
        let source = SourcePartition { partition: 1, assignment: 4 };
        let offsets = [ConsumedOffset { source, offset: 7 }];
        let list = commits.to_commit(&offsets, "a-1");
        let element = list.find_partition("outcomes", 1).unwrap();
        assert_eq!(element.offset().to_raw(), Some(7));
        assert_eq!(element.metadata(), "read=17 transaction=a-1");
        assert!(names_transaction(element.metadata(), "a-1"));
        assert!(!names_transaction(element.metadata(), "a-12") && !names_transaction("", "a-1"));
        assert_eq!(commits.partitions_of(&offsets).count(), 1);
    }
}

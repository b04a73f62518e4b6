//! Offsets that are committed by the transactions in which the answers to their records are written.

use super::{OffsetTracker, PartitionState};
use crate::ack::SourcePartition;

/// The offset of a partition that may be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ConsumedOffset {
    pub(crate) source: SourcePartition,
    pub(crate) offset: i64,
}

impl PartitionState {
    /// Whether no transaction has committed the watermark yet.
    pub(super) fn is_uncommitted(&self) -> bool {
        self.watermark.watermark() != self.committed
    }
}

impl OffsetTracker {
    /// Offsets are committed by transactions.
    pub(crate) fn transactional() -> Self {
        Self { in_transactions: true, ..Self::default() }
    }

    /// Whether offsets are committed by transactions.
    pub(crate) fn is_transactional(&self) -> bool {
        self.in_transactions
    }

    /// The watermark of every assigned partition from which something was taken, moved or not.
    pub(crate) fn watermarks(&self) -> Vec<ConsumedOffset> {
        let states = self.partitions.lock();
        let watermark = |(partition, state): (&i32, &PartitionState)| {
            let source = SourcePartition { partition: *partition, assignment: state.arrival };
            Some(ConsumedOffset { source, offset: state.watermark.watermark()? })
        };
        states.iter().filter_map(watermark).collect()
    }

    /// A transaction has committed these offsets.
    pub(crate) fn committed(&self, offsets: &[ConsumedOffset]) {
        let mut states = self.partitions.lock();
        for ConsumedOffset { source, offset } in offsets {
            if let Some(state) = states.get_mut(&source.partition).filter(|state| state.arrival == source.assignment) {
                state.committed = Some(*offset);
            }
        }
        self.ended.notify_all();
    }

    /// Whether a watermark has moved since it was committed.
    pub(crate) fn has_uncommitted(&self) -> bool {
        self.partitions.lock().values().any(PartitionState::is_uncommitted)
    }

    /// Whether the partition is still assigned as it was.
    pub(crate) fn owns(&self, source: SourcePartition) -> bool {
        self.partitions.lock().get(&source.partition).is_some_and(|state| state.arrival == source.assignment)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AckOutcome;

    #[test]
    fn a_partition_is_busy_until_its_watermark_is_committed() {
        let tracker = OffsetTracker::transactional();
        tracker.assign(&[0, 1], 1);
        let record = tracker.begin(0, 5, 5).unwrap();
        let source = record.source();
        assert!(!tracker.has_uncommitted(), "nothing is done");
        tracker.end(record, AckOutcome::Done);
        let offsets = tracker.watermarks();
        assert_eq!(offsets, [ConsumedOffset { source, offset: 6 }], "nothing was taken from the other");
        assert!(tracker.busy(&[0]) && tracker.has_uncommitted());
        tracker.committed(&offsets);
        assert!(!tracker.busy(&[0]) && !tracker.has_uncommitted());
        assert_eq!(tracker.watermarks(), offsets, "named again though it has not moved");
        assert!(tracker.owns(source));
        tracker.revoke(&[0]);
        tracker.assign(&[0], 2);
        assert!(!tracker.owns(source), "another assignment of the same partition");
        tracker.begin(0, 6, 6).unwrap();
        tracker.committed(&[ConsumedOffset { source, offset: 9 }]);
        assert!(!tracker.has_uncommitted(), "a commit of the earlier assignment changes nothing");
    }
}

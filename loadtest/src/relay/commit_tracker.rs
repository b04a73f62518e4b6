//! Which input offsets may be committed: an offset is committable when all outputs of its record and of every record
//! before it are acknowledged.

use std::collections::VecDeque;

/// One piece of work: one record, or the records of a pack.
#[derive(Debug)]
struct Unit {
    pending: u32,
    /// Partition and offset of the record, or the highest of each partition in the pack.
    offsets: Vec<(i32, i64)>,
}

/// Units in the order they were started. The number of a unit is what its outputs carry as opaque.
#[derive(Debug, Default)]
pub(crate) struct CommitTracker {
    base: usize,
    units: VecDeque<Unit>,
    next: Vec<i64>,
    failed: Option<String>,
}

impl CommitTracker {
    /// Starts a unit with `pending` outputs and returns its number. Without outputs it is done at once.
    pub(crate) fn open(&mut self, pending: u32, offsets: Vec<(i32, i64)>) -> usize {
        self.units.push_back(Unit { pending, offsets });
        self.advance();
        self.base + self.units.len().saturating_sub(1)
    }

    /// One output of unit `number` is acknowledged.
    pub(crate) fn acknowledged(&mut self, number: usize) {
        if let Some(unit) = number.checked_sub(self.base).and_then(|at| self.units.get_mut(at)) {
            unit.pending = unit.pending.saturating_sub(1);
            self.advance();
        }
    }

    /// An output could not be delivered: nothing may be committed any more.
    pub(crate) fn fail(&mut self, why: String) {
        self.failed.get_or_insert(why);
    }

    /// Why the relay has to stop, if it has to.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// The next offset to read of each partition, -1 where nothing is done yet.
    pub(crate) fn committable(&self) -> &[i64] {
        &self.next
    }

    fn advance(&mut self) {
        while self.units.front().is_some_and(|unit| unit.pending == 0) {
            let Some(unit) = self.units.pop_front() else { return };
            self.base += 1;
            for (partition, offset) in unit.offsets {
                let at = usize::try_from(partition).unwrap_or(0);
                if self.next.len() <= at {
                    self.next.resize(at + 1, -1);
                }
                self.next[at] = self.next[at].max(offset + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unacknowledged_unit_holds_back_everything_behind_it() {
        let mut tracker = CommitTracker::default();
        let first = tracker.open(2, vec![(0, 10)]);
        let second = tracker.open(1, vec![(1, 20)]);
        tracker.acknowledged(second);
        tracker.acknowledged(first);
        assert!(tracker.committable().is_empty());
        tracker.acknowledged(first);
        assert_eq!(tracker.committable(), [11, 21]);
        let third = tracker.open(1, vec![(0, 11), (2, 5)]);
        assert_eq!(third, 2);
        tracker.acknowledged(third);
        assert_eq!(tracker.committable(), [12, 21, 6]);
    }

    #[test]
    fn a_unit_without_outputs_is_done_at_once() {
        let mut tracker = CommitTracker::default();
        tracker.open(0, vec![(0, 1)]);
        let next = tracker.open(1, vec![(0, 2)]);
        tracker.acknowledged(next);
        assert_eq!(tracker.committable(), [3]);
    }
}

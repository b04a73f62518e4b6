//! What one consumer has in hand, per partition. The source's thread begins work and commits; acks end work from any
//! thread.

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustc_hash::FxHashMap;

use super::watermark::Watermark;
use crate::AckOutcome;

/// Done but not committable work a partition may pile up behind one slow item before it is held back.
const MAX_SPAN: usize = 65_536;

/// Shared by a source, its rebalance callback and the acks of its deliveries.
#[derive(Debug, Default)]
pub(crate) struct OffsetTracker {
    partitions: Mutex<FxHashMap<i32, Hand>>,
    ended: Condvar,
}

#[derive(Debug)]
struct Hand {
    /// Acks of an earlier assignment, or from before a rewind, say nothing about this one.
    generation: u64,
    /// Partitions that arrived together share it.
    arrival: u64,
    watermark: Watermark,
    moved: bool,
    rewind: bool,
    fresh: bool,
    moved_at: Instant,
}

/// One record, or a run of records, in hand.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ticket {
    partition: i32,
    generation: u64,
    first: i64,
}

impl OffsetTracker {
    /// Partitions arrive.
    pub(crate) fn assign(&self, partitions: &[i32], generation: u64) {
        let mut hands = self.partitions.lock();
        for partition in partitions {
            let hand = Hand {
                generation,
                arrival: generation,
                watermark: Watermark::default(),
                moved: false,
                rewind: false,
                fresh: true,
                moved_at: Instant::now(),
            };
            hands.insert(*partition, hand);
        }
    }

    /// Partitions leave. Waits up to `budget` for their work, then returns what may be stored for each; later acks are
    /// of an earlier generation and change nothing.
    pub(crate) fn revoke(&self, partitions: &[i32], budget: Duration) -> Vec<(i32, i64)> {
        let deadline = Instant::now() + budget;
        let mut hands = self.partitions.lock();
        let busy = |hands: &FxHashMap<i32, Hand>| {
            partitions.iter().any(|p| hands.get(p).is_some_and(|hand| hand.watermark.busy() && !hand.rewind))
        };
        while busy(&hands) && !self.ended.wait_until(&mut hands, deadline).timed_out() {}
        let left = |p: &i32| hands.remove(p).and_then(|hand| hand.watermark.watermark()).map(|offset| (*p, offset));
        partitions.iter().filter_map(left).collect()
    }

    /// The partitions in hand.
    pub(crate) fn assigned(&self) -> Vec<i32> {
        self.partitions.lock().keys().copied().collect()
    }

    /// Work on `first..=last` begins; `None` when the partition has just left.
    pub(crate) fn begin(&self, partition: i32, first: i64, last: i64) -> Option<Ticket> {
        let mut hands = self.partitions.lock();
        let hand = hands.get_mut(&partition)?;
        if !hand.watermark.busy() {
            hand.moved_at = Instant::now();
        }
        hand.watermark.begin(first, last);
        Some(Ticket { partition, generation: hand.generation, first })
    }

    /// For the first record since its partition arrived: which arrival that was, and every partition that came with it.
    /// `None` for the records after it.
    pub(crate) fn take_fresh(&self, partition: i32) -> Option<(u64, Vec<u32>)> {
        let mut hands = self.partitions.lock();
        let hand = hands.get_mut(&partition)?;
        let arrival = std::mem::take(&mut hand.fresh).then_some(hand.arrival)?;
        let together = hands.iter().filter(|(_, hand)| hand.arrival == arrival).map(|(p, _)| p.unsigned_abs());
        Some((arrival, together.collect()))
    }

    /// Work ended.
    pub(crate) fn end(&self, ticket: Ticket, outcome: AckOutcome) {
        let mut hands = self.partitions.lock();
        let Some(hand) = hands.get_mut(&ticket.partition).filter(|hand| hand.generation == ticket.generation) else {
            return;
        };
        match outcome {
            AckOutcome::Done => {
                if hand.watermark.done(ticket.first) {
                    hand.moved = true;
                    hand.moved_at = Instant::now();
                }
            }
            AckOutcome::Failed => hand.rewind = true,
        }
        if !hand.watermark.busy() || hand.rewind {
            self.ended.notify_all();
        }
    }

    /// Offsets that moved since the last call: what the source stores for the next commit.
    pub(crate) fn take_moved(&self) -> Vec<(i32, i64)> {
        let mut hands = self.partitions.lock();
        let moved = |(partition, hand): (&i32, &mut Hand)| {
            std::mem::take(&mut hand.moved).then_some(())?;
            Some((*partition, hand.watermark.watermark()?))
        };
        hands.iter_mut().filter_map(moved).collect()
    }

    /// Partitions whose work failed, with the offset to read again from. Their open work is forgotten.
    pub(crate) fn take_rewinds(&self, generation: u64) -> Vec<(i32, i64)> {
        let mut hands = self.partitions.lock();
        let rewound = |(partition, hand): (&i32, &mut Hand)| {
            std::mem::take(&mut hand.rewind).then_some(())?;
            hand.generation = generation;
            hand.watermark.rewind();
            Some((*partition, hand.watermark.watermark()?))
        };
        hands.iter_mut().filter_map(rewound).collect()
    }

    /// Whether some partition has piled up all it may behind one slow item.
    pub(crate) fn full(&self) -> bool {
        self.partitions.lock().values().any(|hand| hand.watermark.span() >= MAX_SPAN)
    }

    /// How long the most stuck partition has had work in hand without its watermark moving.
    pub(crate) fn stalled(&self) -> Duration {
        let hands = self.partitions.lock();
        let stuck = hands.values().filter(|hand| hand.watermark.busy()).map(|hand| hand.moved_at.elapsed());
        stuck.max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acks_of_an_earlier_assignment_change_nothing() {
        let offset_tracker = OffsetTracker::default();
        offset_tracker.assign(&[0], 1);
        let old = offset_tracker.begin(0, 10, 10).unwrap();
        assert_eq!(offset_tracker.revoke(&[0], Duration::ZERO), [(0, 10)]);
        offset_tracker.assign(&[0], 2);
        offset_tracker.begin(0, 10, 10).unwrap();
        offset_tracker.end(old, AckOutcome::Done);
        assert!(offset_tracker.take_moved().is_empty());
    }

    #[test]
    fn a_failed_record_rewinds_to_the_watermark() {
        let offset_tracker = OffsetTracker::default();
        offset_tracker.assign(&[0], 1);
        let a = offset_tracker.begin(0, 0, 4).unwrap();
        let b = offset_tracker.begin(0, 5, 5).unwrap();
        let c = offset_tracker.begin(0, 6, 6).unwrap();
        offset_tracker.end(a, AckOutcome::Done);
        offset_tracker.end(b, AckOutcome::Failed);
        assert_eq!(offset_tracker.take_rewinds(2), [(0, 5)]);
        offset_tracker.end(c, AckOutcome::Done);
        assert_eq!(offset_tracker.take_moved(), [(0, 5)]);
    }

    #[test]
    fn a_revocation_waits_for_work_within_its_budget() {
        let offset_tracker = std::sync::Arc::new(OffsetTracker::default());
        offset_tracker.assign(&[0, 1], 1);
        let ticket = offset_tracker.begin(0, 3, 3).unwrap();
        let other = std::sync::Arc::clone(&offset_tracker);
        let worker = std::thread::spawn(move || other.end(ticket, AckOutcome::Done));
        assert_eq!(offset_tracker.revoke(&[0, 1], Duration::from_secs(10)), [(0, 4)]);
        worker.join().unwrap();
    }
}

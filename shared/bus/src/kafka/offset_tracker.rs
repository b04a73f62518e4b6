//! The records that one consumer has in flight, per partition. The source's thread begins work and commits; acks end
//! work from any thread.

mod transactions;

use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustc_hash::FxHashMap;

use super::watermark::Watermark;
use crate::AckOutcome;
use crate::ack::{RequestRecord, SourcePartition};
pub(crate) use transactions::ConsumedOffset;

/// Number of records that a partition may run ahead of its watermark before no more are taken: bounds the memory.
const MAX_SPAN: usize = 65_536;

/// Shared by a source, its rebalance callback and the acks of its deliveries.
#[derive(Debug, Default)]
pub(crate) struct OffsetTracker {
    partitions: Mutex<FxHashMap<i32, PartitionState>>,
    ended: Condvar,
    /// Whether offsets are committed by transactions: a partition is busy until its last one was.
    in_transactions: bool,
}

#[derive(Debug)]
struct PartitionState {
    /// Changes with every assignment and rewind, so that acks from before are ignored.
    generation: u64,
    /// Number of the assignment; partitions that were assigned together share it. Changes with a new position as well.
    arrival: u64,
    /// Number of the assignment, whatever became of its position.
    assignment: u64,
    watermark: Watermark,
    /// The watermark that a transaction has committed, or the first offset that was taken.
    committed: Option<i64>,
    moved: bool,
    rewind: bool,
    fresh: bool,
    moved_at: Instant,
    /// The end when it was assigned, and the time before that was read, Unix microseconds.
    end: Option<(i64, u64)>,
    /// Whether what is not answered yet is left to another process; what was sent before may still be done.
    leaving: bool,
}

/// One record, or a run of records, in flight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlightRecord {
    partition: i32,
    generation: u64,
    arrival: u64,
    assignment: u64,
    first: i64,
    last: i64,
    /// Its partition in the origin of a request.
    origin: u32,
}

impl PartitionState {
    /// A partition of which nothing was read yet.
    fn at(generation: u64, assignment: u64) -> Self {
        Self {
            generation,
            arrival: generation,
            assignment,
            watermark: Watermark::default(),
            committed: None,
            moved: false,
            rewind: false,
            fresh: true,
            moved_at: Instant::now(),
            end: None,
            leaving: false,
        }
    }
}

impl InFlightRecord {
    /// Where it was taken from.
    pub(crate) fn source(&self) -> SourcePartition {
        SourcePartition { partition: self.partition, assignment: self.arrival }
    }

    /// The record of a request topic, whose partition is `origin` in the origins of its requests.
    pub(crate) fn of_requests(self, origin: u32) -> Self {
        Self { origin, ..self }
    }

    /// Whether `record` is one of the run.
    pub(crate) fn has(&self, record: RequestRecord) -> bool {
        let offset = i64::try_from(record.offset).unwrap_or(i64::MAX);
        self.origin == record.partition && (self.first..=self.last).contains(&offset)
    }
}

impl OffsetTracker {
    /// Adds newly assigned partitions.
    pub(crate) fn assign(&self, partitions: &[i32], generation: u64) {
        let mut states = self.partitions.lock();
        for partition in partitions {
            let state = PartitionState::at(generation, generation);
            states.insert(*partition, state);
        }
    }

    /// Notes the end of an assigned partition, which was read after this time.
    pub(crate) fn note_end(&self, partition: i32, end: i64, since_us: u64) {
        if let Some(state) = self.partitions.lock().get_mut(&partition) {
            state.end = Some((end, since_us));
        }
    }

    /// A time since which the record at this offset was written, Unix microseconds; 0 if there is none.
    pub(crate) fn written_since(&self, partition: i32, offset: i64) -> u64 {
        let states = self.partitions.lock();
        let end = states.get(&partition).and_then(|state| state.end);
        end.filter(|(end, _)| offset >= *end).map_or(0, |(_, since_us)| since_us)
    }

    /// Forgets what is in flight of a partition that stays, and has a new position.
    pub(crate) fn move_position(&self, partition: i32, generation: u64) {
        let mut states = self.partitions.lock();
        let assignment = states.get(&partition).map_or(generation, |state| state.assignment);
        states.insert(partition, PartitionState::at(generation, assignment));
    }

    /// Whether work on one of `partitions` is open that is not to be read again.
    pub(crate) fn busy(&self, partitions: &[i32]) -> bool {
        let states = self.partitions.lock();
        let works = |state: &PartitionState| state.watermark.busy() && !state.rewind;
        let busy = |state: &PartitionState| works(state) || (self.in_transactions && state.is_uncommitted());
        partitions.iter().any(|p| states.get(p).is_some_and(busy))
    }

    /// Whether any work is open.
    pub(crate) fn is_busy(&self) -> bool {
        self.partitions.lock().values().any(|state| state.watermark.busy())
    }

    /// Whether the end of `record` still counts: its partition has not left, and is not read again.
    pub(crate) fn is_current(&self, record: &InFlightRecord) -> bool {
        let states = self.partitions.lock();
        states.get(&record.partition).is_some_and(|state| state.generation == record.generation && !state.rewind)
    }

    /// Whether the partition of `record` has left since it was taken, or is about to.
    pub(crate) fn has_left(&self, record: &InFlightRecord) -> bool {
        let states = self.partitions.lock();
        let stays = |state: &PartitionState| state.assignment == record.assignment && !state.leaving;
        !states.get(&record.partition).is_some_and(stays)
    }

    /// Leaves what is open of partitions to another process. Work that was handed on may still be done; what fails from now
    /// on stays open.
    pub(crate) fn give_up(&self, partitions: &[i32]) {
        let mut states = self.partitions.lock();
        for partition in partitions {
            states.entry(*partition).and_modify(|state| state.leaving = true);
        }
    }

    /// Waits until the work of a partition ends or fails, for at most `limit`.
    pub(crate) fn wait_for_end(&self, limit: Duration) {
        self.ended.wait_for(&mut self.partitions.lock(), limit);
    }

    /// Removes partitions that leave, and returns the offset that may be stored for each; later acks belong to an earlier
    /// generation and change nothing.
    pub(crate) fn revoke(&self, partitions: &[i32]) -> Vec<(i32, i64)> {
        let mut states = self.partitions.lock();
        let left = |p: &i32| states.remove(p).and_then(|state| state.watermark.watermark()).map(|offset| (*p, offset));
        partitions.iter().filter_map(left).collect()
    }

    /// The assigned partitions.
    pub(crate) fn assigned(&self) -> Vec<i32> {
        self.partitions.lock().keys().copied().collect()
    }

    /// Changes with every assignment and rewind of a partition; `None` when it is not assigned.
    pub(crate) fn generation(&self, partition: i32) -> Option<u64> {
        self.partitions.lock().get(&partition).map(|state| state.generation)
    }

    /// The offset of a partition before which all work has ended; `None` before its first record.
    pub(crate) fn watermark(&self, partition: i32) -> Option<i64> {
        self.partitions.lock().get(&partition)?.watermark.watermark()
    }

    /// The generation and the watermark of a partition without open work; the watermark is `None` before its first record.
    pub(crate) fn idle(&self, partition: i32) -> Option<(u64, Option<i64>)> {
        let states = self.partitions.lock();
        let state = states.get(&partition).filter(|state| !state.watermark.busy() && !state.rewind)?;
        Some((state.generation, state.watermark.watermark()))
    }

    /// Moves the watermark of a partition that is idle at `position` to `next`: there is no record in between.
    pub(crate) fn skip(&self, partition: i32, generation: u64, position: i64, next: i64) {
        let mut states = self.partitions.lock();
        let Some(state) = states.get_mut(&partition).filter(|state| state.generation == generation) else { return };
        let stays = state.watermark.watermark().is_none_or(|watermark| watermark == position);
        if stays && !state.watermark.busy() && !state.rewind {
            state.watermark.skip_to(next);
            state.moved = true;
        }
    }

    /// Work on `first..=last` begins; `None` when the partition has just left.
    pub(crate) fn begin(&self, partition: i32, first: i64, last: i64) -> Option<InFlightRecord> {
        let mut states = self.partitions.lock();
        let state = states.get_mut(&partition)?;
        let now = Instant::now();
        if !state.watermark.busy() {
            state.moved_at = now;
        }
        state.watermark.begin(first, last, now);
        state.committed = state.committed.or(state.watermark.watermark());
        let PartitionState { generation, arrival, assignment, .. } = *state;
        let origin = partition.unsigned_abs();
        Some(InFlightRecord { partition, generation, arrival, assignment, first, last, origin })
    }

    /// For the first record since its partition was assigned: the number of that assignment and all its partitions.
    /// `None` for the records after it.
    pub(crate) fn take_fresh(&self, partition: i32) -> Option<(u64, Vec<u32>)> {
        let mut states = self.partitions.lock();
        let state = states.get_mut(&partition)?;
        let arrival = std::mem::take(&mut state.fresh).then_some(state.arrival)?;
        let together = states.iter().filter(|(_, state)| state.arrival == arrival).map(|(p, _)| p.unsigned_abs());
        Some((arrival, together.collect()))
    }

    /// Ends work on a record.
    pub(crate) fn end(&self, record: InFlightRecord, outcome: AckOutcome) {
        let mut states = self.partitions.lock();
        let Some(state) = states.get_mut(&record.partition).filter(|state| state.generation == record.generation)
        else {
            return;
        };
        match outcome {
            AckOutcome::Done => {
                if state.watermark.done(record.first) {
                    state.moved = true;
                    state.moved_at = Instant::now();
                }
            }
            AckOutcome::Failed => state.rewind |= !state.leaving,
        }
        if !state.watermark.busy() || state.rewind {
            self.ended.notify_all();
        }
    }

    /// Watermarks that moved since the last call: the offsets that the source stores for the next commit.
    pub(crate) fn take_moved(&self) -> Vec<(i32, i64)> {
        let mut states = self.partitions.lock();
        let moved = |(partition, state): (&i32, &mut PartitionState)| {
            std::mem::take(&mut state.moved).then_some(())?;
            Some((*partition, state.watermark.watermark()?))
        };
        states.iter_mut().filter_map(moved).collect()
    }

    /// Partitions whose work failed, with the offset to read again from. Their records in flight are forgotten.
    pub(crate) fn take_rewinds(&self, generation: u64) -> Vec<(i32, i64)> {
        let mut states = self.partitions.lock();
        let rewound = |(partition, state): (&i32, &mut PartitionState)| {
            std::mem::take(&mut state.rewind).then_some(())?;
            state.generation = generation;
            state.watermark.rewind();
            Some((*partition, state.watermark.watermark()?))
        };
        states.iter_mut().filter_map(rewound).collect()
    }

    /// Partitions that may not run further ahead of their watermark at `now`: their oldest open work began more than
    /// `limit` ago, so that what a successor does again is never older than that, or there is too much of it.
    pub(crate) fn held_back(&self, now: Instant, limit: Duration) -> Vec<i32> {
        let states = self.partitions.lock();
        let held = |state: &PartitionState| {
            let age = state.watermark.oldest().map_or(Duration::ZERO, |began| now.saturating_duration_since(began));
            age > limit || state.watermark.span() >= MAX_SPAN
        };
        let mut held: Vec<i32> = states.iter().filter(|(_, state)| held(state)).map(|(p, _)| *p).collect();
        held.sort_unstable();
        held
    }

    /// The longest time for which a partition has had work in flight without its watermark moving.
    pub(crate) fn stalled(&self) -> Duration {
        let states = self.partitions.lock();
        let stuck = states.values().filter(|state| state.watermark.busy()).map(|state| state.moved_at.elapsed());
        stuck.max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_record_is_skipped_only_where_nothing_is_open() {
        let offsets = OffsetTracker::default();
        offsets.assign(&[0], 1);
        let record = offsets.begin(0, 5, 5).unwrap();
        assert_eq!(offsets.idle(0), None);
        offsets.skip(0, 1, 5, 9);
        assert_eq!(offsets.take_moved(), []);
        offsets.end(record, AckOutcome::Done);
        assert_eq!((offsets.take_moved(), offsets.idle(0)), (vec![(0, 6)], Some((1, Some(6)))));
        // another assignment, or a position that has moved on
        offsets.skip(0, 2, 6, 9);
        offsets.skip(0, 1, 5, 9);
        assert_eq!(offsets.take_moved(), []);
        offsets.skip(0, 1, 6, 7);
        assert_eq!(offsets.take_moved(), [(0, 7)]);
    }

    #[test]
    fn acks_of_an_earlier_assignment_change_nothing() {
        let offset_tracker = OffsetTracker::default();
        offset_tracker.assign(&[0], 1);
        let old = offset_tracker.begin(0, 10, 10).unwrap();
        assert_eq!(offset_tracker.revoke(&[0]), [(0, 10)]);
        offset_tracker.assign(&[0], 2);
        let new = offset_tracker.begin(0, 10, 10).unwrap();
        offset_tracker.end(old, AckOutcome::Done);
        assert!(offset_tracker.take_moved().is_empty());
        assert_eq!([old, new].map(|record| offset_tracker.has_left(&record)), [true, false]);
        offset_tracker.note_end(0, 10, 77);
        assert_eq!([9, 10].map(|offset| offset_tracker.written_since(0, offset)), [0, 77]);
        offset_tracker.move_position(0, 3);
        assert_eq!(offset_tracker.written_since(0, 10), 0);
        assert_eq!([old, new].map(|record| offset_tracker.has_left(&record)), [true, false]);
        assert!(!offset_tracker.is_current(&new));
    }

    #[test]
    fn of_a_partition_that_leaves_what_is_done_counts_and_what_fails_stays_open() {
        let offset_tracker = OffsetTracker::default();
        offset_tracker.assign(&[0], 1);
        let [sent, left, late] = [3, 4, 5].map(|offset| offset_tracker.begin(0, offset, offset).unwrap());
        offset_tracker.give_up(&[0]);
        assert!(offset_tracker.has_left(&left));
        offset_tracker.end(left, AckOutcome::Failed);
        offset_tracker.end(sent, AckOutcome::Done);
        offset_tracker.end(late, AckOutcome::Done);
        assert!(offset_tracker.take_rewinds(2).is_empty());
        assert_eq!(offset_tracker.revoke(&[0]), [(0, 4)]);
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
    fn partitions_are_busy_until_their_work_ends() {
        let offset_tracker = std::sync::Arc::new(OffsetTracker::default());
        offset_tracker.assign(&[0, 1], 1);
        let record = offset_tracker.begin(0, 3, 3).unwrap();
        let other = std::sync::Arc::clone(&offset_tracker);
        assert!(offset_tracker.busy(&[0, 1]) && !offset_tracker.busy(&[1]));
        let worker = std::thread::spawn(move || other.end(record, AckOutcome::Done));
        while offset_tracker.busy(&[0, 1]) {
            offset_tracker.wait_for_end(Duration::from_secs(10));
        }
        assert_eq!(offset_tracker.revoke(&[0, 1]), [(0, 4)]);
        worker.join().unwrap();
    }

    #[test]
    fn a_partition_is_held_back_when_its_oldest_work_is_too_old() {
        let (limit, tracker) = (Duration::from_secs(60), OffsetTracker::default());
        tracker.assign(&[0, 1], 1);
        let stuck = tracker.begin(0, 3, 3).unwrap();
        let quick = tracker.begin(1, 3, 3).unwrap();
        tracker.end(quick, AckOutcome::Done);
        let done = tracker.begin(0, 4, 4).unwrap();
        tracker.end(done, AckOutcome::Done);
        let later = Instant::now() + Duration::from_secs(61);
        assert!(tracker.held_back(Instant::now(), limit).is_empty());
        assert_eq!(tracker.held_back(later, limit), [0]);
        tracker.end(stuck, AckOutcome::Done);
        assert!(tracker.held_back(later, limit).is_empty());
    }

    #[test]
    fn a_partition_is_held_back_by_the_number_of_its_records() {
        let tracker = OffsetTracker::default();
        tracker.assign(&[0], 1);
        (0..MAX_SPAN as i64).for_each(|offset| assert!(tracker.begin(0, offset, offset).is_some()));
        assert_eq!(tracker.held_back(Instant::now(), Duration::from_secs(60)), [0]);
    }
}

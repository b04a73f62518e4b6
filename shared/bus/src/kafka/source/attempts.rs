//! How often the work on a partition was started without progress, so that a record which ends its process is found.
//!
//! Each process notes with the first record that it takes of a partition, in the metadata of the committed offset, that
//! it has started; the next commit with progress removes the note. After [`STARTS`] starts without progress the partition
//! is read one item at a time, up to where the last process had read: see [`super::isolation`].

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

/// After so many starts without progress the items of a partition are taken one at a time.
pub(super) const STARTS: u32 = 3;
/// An item that was alone in work at the end of so many processes is a dead letter. One end could have another cause.
pub(super) const ENDS: u32 = 2;
/// A process notes how far it may have read in steps of so many records.
const STEP: i64 = 64;

/// What a committed offset says about the processes that made no progress from there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Attempts {
    /// How many processes have started.
    pub(super) started: u32,
    /// No record from this offset on was in work when the last of them ended. Written from the second start on.
    pub(super) read_up_to: Option<i64>,
    /// The item of the first record that was in work alone.
    pub(super) alone: Option<Alone>,
}

/// An item that was in work alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Alone {
    /// Its number in its record.
    pub(super) item: u32,
    /// How many processes have started with it alone.
    pub(super) started: u32,
}

impl Attempts {
    /// Reads one word of a commit's metadata.
    pub(super) fn read(&mut self, word: &str, value: &str) {
        match word {
            "attempts" => self.started = value.parse().unwrap_or(0),
            "upto" => self.read_up_to = value.parse().ok(),
            "alone" => {
                let numbers = value.split_once('/');
                self.alone = numbers.and_then(|(item, started)| {
                    Some(Alone { item: item.parse().ok()?, started: started.parse().ok()? })
                });
            }
            _ => {}
        }
    }
}

impl fmt::Display for Attempts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attempts={}", self.started)?;
        if let Some(offset) = self.read_up_to {
            write!(f, " upto={offset}")?;
        }
        if let Some(Alone { item, started }) = self.alone {
            write!(f, " alone={item}/{started}")?;
        }
        Ok(())
    }
}

/// The partitions of a source that have made no progress since they were assigned.
#[derive(Debug, Default)]
pub(super) struct WithoutProgress {
    partitions: Mutex<FxHashMap<i32, Partition>>,
    /// Their number, which tells for every record that there is nothing to do.
    count: AtomicUsize,
    isolated: AtomicUsize,
    /// Nothing is counted.
    off: bool,
}

#[derive(Clone, Copy, Debug)]
struct Partition {
    /// The committed offset, and what the processes before have left there.
    committed: i64,
    before: Attempts,
    /// What this process has noted, and at which offset.
    noted: Option<(i64, Attempts)>,
}

impl Partition {
    /// The item of the record at `offset` that was in work alone when a process before has ended.
    fn alone_at(&self, offset: i64) -> Option<Alone> {
        self.before.alone.filter(|_| self.committed == offset)
    }

    fn isolated_up_to(&self) -> Option<i64> {
        self.before.read_up_to.filter(|_| self.before.started >= STARTS)
    }
}

impl WithoutProgress {
    /// For a source whose offsets are committed in transactions: a note beside them could move an offset back, or past an
    /// answer whose transaction is aborted.
    pub(super) fn off() -> Self {
        Self { off: true, ..Self::default() }
    }

    /// A partition was assigned at the offset `committed`, whose metadata says `before`.
    pub(super) fn assigned(&self, partition: i32, committed: i64, before: Attempts) {
        if !self.off {
            self.change(|partitions| _ = partitions.insert(partition, Partition { committed, before, noted: None }));
        }
    }

    /// Partitions have left.
    pub(super) fn forget(&self, left: &[i32]) {
        self.change(|partitions| partitions.retain(|partition, _| !left.contains(partition)));
    }

    /// Whether every partition has made progress.
    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Whether items have to be taken one at a time.
    pub(super) fn isolates(&self) -> bool {
        self.isolated.load(Ordering::Acquire) > 0
    }

    /// The end of the offsets whose items are taken one at a time; `None` for a partition that is read as usual.
    pub(super) fn isolated_up_to(&self, partition: i32) -> Option<i64> {
        self.partitions.lock().get(&partition)?.isolated_up_to()
    }

    /// Called before a record is taken: the offset to commit with a note, if one is due.
    pub(super) fn before_record(&self, partition: i32, offset: i64) -> Option<i64> {
        let mut partitions = self.partitions.lock();
        let Partition { before, noted, .. } = partitions.get_mut(&partition)?;
        let (at, mut attempts) = noted.unwrap_or_else(|| {
            let started = before.started.saturating_add(1);
            (offset, Attempts { started, read_up_to: None, alone: None })
        });
        // the first start is the common one, which ends in progress
        let up_to_date = attempts.started == 1 || attempts.read_up_to.is_some_and(|up_to| offset < up_to);
        if noted.is_some() && up_to_date {
            return None;
        }
        attempts.read_up_to = (attempts.started > 1).then_some(offset + STEP);
        *noted = Some((at, attempts));
        Some(at)
    }

    /// Called before an item is taken alone: how many processes have ended with it alone. This one is noted as well.
    pub(super) fn before_item(&self, partition: i32, offset: i64, item: u32) -> u32 {
        let mut partitions = self.partitions.lock();
        let Some(state) = partitions.get_mut(&partition) else { return 0 };
        let ended = state.alone_at(offset).filter(|alone| alone.item == item).map_or(0, |alone| alone.started);
        let alone = Some(Alone { item, started: ended.saturating_add(1) });
        state.noted = Some((offset, Attempts { alone, ..state.before }));
        ended
    }

    /// The first item of the record at `offset` that no process before has completed alone.
    pub(super) fn first_open_item(&self, partition: i32, offset: i64) -> u32 {
        self.partitions.lock().get(&partition).and_then(|state| state.alone_at(offset)).map_or(0, |alone| alone.item)
    }

    /// What a commit of `partition` says.
    pub(super) fn to_commit(&self, partition: i32) -> Option<Attempts> {
        let partitions = self.partitions.lock();
        let state = partitions.get(&partition)?;
        Some(state.noted.map_or(state.before, |(_, attempts)| attempts)).filter(|attempts| attempts.started > 0)
    }

    /// The watermarks of partitions have moved. One that is isolated stays so up to its end.
    pub(super) fn progressed(&self, moved: &[(i32, i64)]) {
        if self.is_empty() {
            return;
        }
        self.change(|partitions| {
            for (partition, watermark) in moved {
                let isolated = partitions.get_mut(partition);
                match isolated.filter(|state| state.isolated_up_to().is_some_and(|up_to| *watermark < up_to)) {
                    Some(state) => {
                        state.before.alone = None;
                        state.noted = None;
                    }
                    None => _ = partitions.remove(partition),
                }
            }
        });
    }

    /// This process lets go of partitions without having ended in the work on them: what it has noted is taken back, unless
    /// there was progress. `leaving` has their watermarks; returns those partitions with the offsets to commit.
    pub(super) fn withdraw(&self, leaving: &[(i32, i64)]) -> Vec<(i32, i64)> {
        if self.is_empty() {
            return Vec::new();
        }
        let noted = |partition: &i32| Some(self.partitions.lock().get(partition)?.noted?.0);
        let (stuck, moved): (Vec<_>, Vec<_>) =
            leaving.iter().partition(|(partition, watermark)| noted(partition).is_some_and(|at| *watermark <= at));
        self.progressed(&moved);
        let mut partitions = self.partitions.lock();
        let withdrawn = |(partition, _): (i32, i64)| Some((partition, partitions.get_mut(&partition)?.noted.take()?.0));
        stuck.into_iter().filter_map(withdrawn).collect()
    }

    fn change(&self, change: impl FnOnce(&mut FxHashMap<i32, Partition>)) {
        let mut partitions = self.partitions.lock();
        change(&mut partitions);
        let isolated = partitions.values().filter(|state| state.isolated_up_to().is_some()).count();
        self.isolated.store(isolated, Ordering::Release);
        self.count.store(partitions.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: i32 = 4;

    /// One process that takes the records from 10 on and ends without progress; what it leaves.
    fn process(before: Attempts, records: i64) -> Attempts {
        let state = WithoutProgress::default();
        state.assigned(P, 10, before);
        for offset in 10..10 + records {
            assert!(state.before_record(P, offset).is_none_or(|at| at == 10));
        }
        state.to_commit(P).unwrap()
    }

    #[test]
    fn starts_are_counted_and_from_the_second_on_so_is_what_was_read() {
        let first = process(Attempts::default(), 100);
        assert_eq!(first.to_string(), "attempts=1");
        let second = process(first, 10);
        assert_eq!(second.to_string(), "attempts=2 upto=74");
        let third = process(second, 100);
        assert_eq!(third.to_string(), "attempts=3 upto=138");
        let state = WithoutProgress::default();
        state.assigned(P, 10, third);
        assert!(state.isolates());
        assert_eq!(state.isolated_up_to(P), Some(138));
    }

    #[test]
    fn a_note_is_due_with_the_first_record_alone() {
        let state = WithoutProgress::default();
        state.assigned(P, 10, Attempts::default());
        assert!(!state.is_empty() && !state.isolates());
        assert_eq!(state.before_record(P, 10), Some(10));
        assert_eq!(state.before_record(P, 11), None);
        assert_eq!(state.before_record(P + 1, 11), None);
    }

    #[test]
    fn progress_removes_the_note() {
        let state = WithoutProgress::default();
        state.assigned(P, 10, Attempts { started: 2, ..Attempts::default() });
        assert_eq!(state.before_record(P, 10), Some(10));
        state.progressed(&[(P, 11)]);
        assert!(state.is_empty());
        assert_eq!(state.to_commit(P), None);
    }

    #[test]
    fn an_item_is_blamed_when_it_was_alone_at_two_ends() {
        let mut before = Attempts { started: STARTS, read_up_to: Some(12), alone: None };
        for ended in 0..=ENDS {
            let state = WithoutProgress::default();
            state.assigned(P, 10, before);
            let first = state.first_open_item(P, 10);
            assert_eq!(first, if ended == 0 { 0 } else { 5 });
            assert_eq!(state.first_open_item(P, 11), 0);
            (first..5).for_each(|item| assert_eq!(state.before_item(P, 10, item), 0));
            assert_eq!(state.before_item(P, 10, 5), ended);
            before = state.to_commit(P).unwrap();
            assert_eq!(before.to_string(), format!("attempts=3 upto=12 alone=5/{}", ended + 1));
        }
    }

    #[test]
    fn a_partition_stays_isolated_up_to_its_end() {
        let state = WithoutProgress::default();
        state.assigned(
            P,
            10,
            Attempts { started: STARTS, read_up_to: Some(12), alone: Some(Alone { item: 3, started: 1 }) },
        );
        state.progressed(&[(P, 11)]);
        assert!(state.isolates());
        assert_eq!(state.first_open_item(P, 10), 0);
        assert_eq!(state.to_commit(P).unwrap().to_string(), "attempts=3 upto=12");
        state.progressed(&[(P, 12)]);
        assert!(state.is_empty() && !state.isolates());
    }

    #[test]
    fn a_process_that_leaves_in_order_counts_nothing() {
        let state = WithoutProgress::default();
        state.assigned(P, 10, Attempts { started: 1, ..Attempts::default() });
        state.before_record(P, 10);
        assert_eq!(state.to_commit(P).unwrap().started, 2);
        assert_eq!(state.withdraw(&[(P, 10), (9, 10)]), [(P, 10)]);
        assert_eq!(state.to_commit(P).unwrap().started, 1);
        assert!(state.withdraw(&[(P, 10)]).is_empty());
    }

    #[test]
    fn progress_that_was_not_seen_yet_is_not_taken_back() {
        let state = WithoutProgress::default();
        state.assigned(P, 10, Attempts { started: 1, ..Attempts::default() });
        state.before_record(P, 10);
        assert!(state.withdraw(&[(P, 12)]).is_empty());
        assert_eq!(state.to_commit(P), None);
    }

    #[test]
    fn nothing_is_counted_beside_transactions() {
        let state = WithoutProgress::off();
        state.assigned(P, 10, Attempts { started: STARTS, read_up_to: Some(12), alone: None });
        assert!(state.is_empty() && !state.isolates());
        assert_eq!(state.before_record(P, 10), None);
    }
}

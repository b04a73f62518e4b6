//! A set of recent ids in time buckets. Old ids are dropped a bucket at a time, and the memory of a dropped bucket is
//! reused, so that a steady load neither allocates nor re-hashes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};

/// Full buckets that are kept besides the one being filled: an id lives for the window and up to a quarter longer.
const COMPLETE: u32 = 4;
/// Parts of a bucket. Each grows separately, so that no single insert moves more than a sixteenth of the ids.
const PARTS: usize = 16;

/// How far a source partition has been answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The highest offset that was answered.
    pub(crate) offset: u64,
    /// When it was answered, Unix microseconds.
    pub(crate) answered_us: u64,
}

impl Mark {
    /// Keeps the higher of two marks in `marks`.
    pub(crate) fn raise<K: std::hash::Hash + Eq>(self, marks: &mut FxHashMap<K, Mark>, key: K) {
        let mark = marks.entry(key).or_insert(self);
        if self.offset > mark.offset {
            *mark = self;
        }
    }
}

/// The place of an answer: partition of the result topic, source partition, offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Position {
    pub(crate) partition: u32,
    pub(crate) source: u32,
    pub(crate) mark: Mark,
}

/// A set whose ids expire. Takes about 20 to 40 bytes per id.
#[derive(Debug)]
pub(crate) struct ExpiringIdSet {
    /// Time that one bucket covers.
    width: Duration,
    /// When the newest bucket was started.
    began: Instant,
    /// Newest first; never empty.
    buckets: VecDeque<Bucket>,
    ids: usize,
    /// The highest answers that have expired, by partition of the result topic and source partition.
    forgotten: FxHashMap<(u32, u32), Mark>,
}

#[derive(Debug, Default)]
struct Bucket {
    parts: [FxHashSet<u128>; PARTS],
    highest: FxHashMap<(u32, u32), Mark>,
}

fn part_of(id: u128) -> usize {
    (id >> 124) as usize % PARTS
}

impl Bucket {
    fn len(&self) -> usize {
        self.parts.iter().map(FxHashSet::len).sum()
    }

    fn capacity(&self) -> usize {
        self.parts.iter().map(FxHashSet::capacity).sum()
    }

    fn emptied(mut self) -> Self {
        self.parts.iter_mut().for_each(FxHashSet::clear);
        self.highest.clear();
        self
    }
}

impl ExpiringIdSet {
    /// A set that keeps each id for at least `window`.
    pub(crate) fn new(window: Duration, now: Instant) -> Self {
        let width = (window / COMPLETE).max(Duration::from_millis(1));
        Self {
            width,
            began: now,
            buckets: VecDeque::from([Bucket::default()]),
            ids: 0,
            forgotten: FxHashMap::default(),
        }
    }

    /// Removes ids that are older than the window.
    pub(crate) fn advance(&mut self, now: Instant) {
        let mut turns = 0;
        while now.saturating_duration_since(self.began) >= self.width {
            if turns > COMPLETE {
                self.began = now; // everything has expired already, the rest of the idle time needs no turns
                break;
            }
            turns += 1;
            self.began += self.width;
            self.turn();
        }
    }

    fn turn(&mut self) {
        let mut spare = None;
        while self.buckets.len() > COMPLETE as usize {
            spare = self.buckets.pop_back();
            self.ids -= spare.as_ref().map_or(0, Bucket::len);
            for (place, mark) in spare.iter().flat_map(|bucket| &bucket.highest) {
                mark.raise(&mut self.forgotten, *place);
            }
        }
        let busiest = self.buckets.iter().map(Bucket::len).max().unwrap_or(0);
        let worth_keeping = |bucket: &Bucket| bucket.capacity() <= 4 * busiest + 64 * PARTS;
        self.buckets.push_front(spare.filter(worth_keeping).map(Bucket::emptied).unwrap_or_default());
    }

    /// Whether `id` was inserted within the window.
    pub(crate) fn contains(&self, id: u128) -> bool {
        let part = part_of(id);
        self.buckets.iter().any(|bucket| bucket.parts[part].contains(&id))
    }

    /// Adds `id`; its time starts now. `position` is where it was answered.
    pub(crate) fn insert(&mut self, id: u128, position: Option<Position>) {
        let Some(newest) = self.buckets.front_mut() else { return };
        if newest.parts[part_of(id)].insert(id) {
            self.ids += 1;
        }
        if let Some(Position { partition, source, mark }) = position {
            mark.raise(&mut newest.highest, (partition, source));
        }
    }

    /// As [`ExpiringIdSet::insert`], for an id that may be in the set: its time starts again.
    pub(crate) fn renew(&mut self, id: u128, position: Option<Position>) {
        let part = part_of(id);
        self.ids -= self.buckets.iter_mut().skip(1).filter_map(|bucket| bucket.parts[part].take(&id)).count();
        self.insert(id, position);
    }

    /// The highest answer that has expired, of a source partition and a partition of the result topic.
    pub(crate) fn forgotten(&self, partition: u32, source: u32) -> Option<Mark> {
        self.forgotten.get(&(partition, source)).copied()
    }

    /// Drops the expired answers of a partition of the result topic, of which another owner may know more.
    pub(crate) fn drop_forgotten(&mut self, partition: u32) {
        self.forgotten.retain(|(place, _), _| *place != partition);
    }

    /// Number of ids.
    pub(crate) fn len(&self) -> usize {
        self.ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(120);

    #[test]
    fn an_id_lives_for_the_window_and_at_most_a_quarter_longer() {
        let start = Instant::now();
        for offset in [0, 1, 29, 30, 31, 77] {
            let mut set = ExpiringIdSet::new(WINDOW, start);
            let born = start + Duration::from_secs(offset);
            set.advance(born);
            set.insert(7, None);
            set.advance(born + WINDOW);
            assert!(set.contains(7), "expired too early, born at {offset}");
            set.advance(born + WINDOW * 5 / 4 + Duration::from_millis(1));
            assert!(!set.contains(7), "kept too long, born at {offset}");
            assert_eq!(set.len(), 0);
        }
    }

    #[test]
    fn after_a_long_idle_time_everything_has_expired() {
        let start = Instant::now();
        let mut set = ExpiringIdSet::new(WINDOW, start);
        set.insert(1, None);
        set.advance(start + WINDOW * 1000);
        assert_eq!(set.len(), 0);
        set.insert(2, None);
        set.advance(start + WINDOW * 1001);
        assert!(set.contains(2));
    }

    #[test]
    fn nothing_expires_when_the_clock_stops_or_goes_back() {
        let start = Instant::now() + WINDOW;
        let mut set = ExpiringIdSet::new(WINDOW, start);
        set.insert(1, None);
        set.advance(start);
        set.advance(start - WINDOW);
        assert!(set.contains(1));
    }

    #[test]
    fn the_highest_answer_is_known_when_it_has_expired() {
        let start = Instant::now();
        let mut set = ExpiringIdSet::new(WINDOW, start);
        let position = |offset| Some(Position { partition: 1, source: 2, mark: Mark { offset, answered_us: offset } });
        set.insert(1, position(9));
        set.insert(2, position(4));
        assert_eq!(set.forgotten(1, 2), None);
        set.advance(start + WINDOW * 2);
        assert_eq!(set.forgotten(1, 2), Some(Mark { offset: 9, answered_us: 9 }));
        assert_eq!((set.forgotten(0, 2), set.forgotten(1, 1)), (None, None));
        set.drop_forgotten(1);
        assert_eq!(set.forgotten(1, 2), None);
    }

    #[test]
    fn a_renewed_id_lives_for_another_window_and_counts_once() {
        let start = Instant::now();
        let mut set = ExpiringIdSet::new(WINDOW, start);
        set.insert(1, None);
        set.advance(start + WINDOW);
        set.renew(1, None);
        assert_eq!(set.len(), 1);
        set.advance(start + WINDOW * 2);
        assert!(set.contains(1));
    }

    #[test]
    fn two_minutes_at_thirty_thousand_a_second_fit_in_200_mb() {
        let start = Instant::now();
        let mut set = ExpiringIdSet::new(WINDOW, start);
        let mut id = 1u128;
        // one id stands for ten, so that the test is quick: capacity grows in proportion
        for second in 0..180 {
            set.advance(start + Duration::from_secs(second));
            for _ in 0..3_000 {
                id = id.wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645).wrapping_add(0x5851_F42D_4C95_7F2D);
                set.insert(id, None);
            }
        }
        assert!(set.len() >= 360_000, "{}", set.len());
        // a slot is 16 bytes and a control byte, and a table has 8/7 slots of its capacity
        let bytes: usize = set.buckets.iter().map(|bucket| bucket.capacity() * 8 / 7 * 17).sum();
        assert!(bytes * 10 < 200 << 20, "{} MiB", (bytes * 10) >> 20);
    }
}

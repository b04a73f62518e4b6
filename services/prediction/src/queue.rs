//! Rows that wait for a model, ordered by priority and then by arrival. Of the rows that have waited for the age bound
//! the oldest gets a share of the turns, so that low priorities move while high ones keep going first: under overload
//! every row is late, and precedence for late rows would be plain order of arrival.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use forebay_contract::{Features, Item};

use crate::infer::PinnedVersion;

/// Every so many rows, the oldest late one goes first.
const AGE_SHARE: u32 = 8;
/// Priorities beyond these share a lane with them: 16 lanes, which hold every priority that RabbitMQ and the clients of
/// the replaced service use (-8 to 7).
const LEVELS: std::ops::RangeInclusive<i32> = -8..=7;

/// How many rows are looked at for each row of a group.
const LOOKS: usize = 4;

/// One row that waits.
#[derive(Debug)]
pub(crate) struct QueuedRow {
    pub item: Item<Features>,
    /// Index of its delivery in [`crate::deliveries::Deliveries`].
    pub delivery: usize,
    pub arrived: Instant,
}

/// Rows that are answered by one call.
#[derive(Debug)]
pub(crate) struct RowGroup {
    pub pinned: PinnedVersion,
    pub rows: Vec<QueuedRow>,
}

/// The ordered queue. The permits of the source bound its length.
#[derive(Debug)]
pub(crate) struct Queue {
    /// By priority; none is empty.
    lanes: BTreeMap<i32, VecDeque<QueuedRow>>,
    max_age: Duration,
    /// Rows taken by priority since the last one taken by age.
    by_priority: u32,
}

impl Queue {
    pub(crate) fn new(max_age: Duration) -> Self {
        Self { lanes: BTreeMap::new(), max_age, by_priority: 0 }
    }

    pub(crate) fn push(&mut self, row: QueuedRow) {
        let level = row.item.context.priority().clamp(*LEVELS.start(), *LEVELS.end());
        self.lanes.entry(level).or_default().push_back(row);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// The oldest row of the best priority or, in every eighth call, the oldest of those past the age bound.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<QueuedRow> {
        let level = self.next_level(now)?;
        let lane = self.lanes.get_mut(&level)?;
        let row = lane.pop_front();
        if lane.is_empty() {
            self.lanes.remove(&level);
        }
        row
    }

    fn next_level(&mut self, now: Instant) -> Option<i32> {
        let best = *self.lanes.first_key_value()?.0;
        if self.lanes.len() == 1 {
            return Some(best);
        }
        // the turn of age is kept while no row is late
        self.by_priority = (self.by_priority + 1).min(AGE_SHARE);
        if self.by_priority < AGE_SHARE {
            return Some(best);
        }
        let Some(oldest) = self.oldest_late(now) else { return Some(best) };
        self.by_priority = 0;
        Some(oldest)
    }

    /// The lane whose head is the oldest of those past the age bound.
    fn oldest_late(&self, now: Instant) -> Option<i32> {
        let heads = self.lanes.iter().filter_map(|(level, lane)| Some((*level, lane.front()?.arrived)));
        let late = heads.filter(|(_, arrived)| now.saturating_duration_since(*arrived) >= self.max_age);
        late.min_by_key(|(_, arrived)| *arrived).map(|(level, _)| level)
    }

    /// Removes up to `room` rows that `wanted` accepts, in the order in which [`Queue::pop`] would reach them but for the
    /// share of age: an eighth of the room is for the lane with the oldest late row. Rows of one priority keep their
    /// order. Looks at a few times `room` rows, so that the cost does not grow with the queue.
    pub(crate) fn extract(
        &mut self,
        now: Instant,
        room: usize,
        mut wanted: impl FnMut(&QueuedRow) -> bool,
    ) -> Vec<QueuedRow> {
        let mut walk = Walk { taken: Vec::new(), looks: room.saturating_mul(LOOKS) };
        if let Some(level) = self.oldest_late(now)
            && let Some(lane) = self.lanes.get_mut(&level)
        {
            walk.take(lane, room / AGE_SHARE as usize, &mut wanted);
        }
        for lane in self.lanes.values_mut() {
            let left = room - walk.taken.len();
            walk.take(lane, left, &mut wanted);
        }
        self.lanes.retain(|_, lane| !lane.is_empty());
        walk.taken
    }
}

/// Takes rows out of lanes from the front, without touching what lies behind the last one.
struct Walk {
    taken: Vec<QueuedRow>,
    looks: usize,
}

impl Walk {
    fn take(&mut self, lane: &mut VecDeque<QueuedRow>, mut room: usize, wanted: &mut impl FnMut(&QueuedRow) -> bool) {
        let mut passed = Vec::new();
        while room > 0 && self.looks > 0 {
            let Some(row) = lane.pop_front() else { break };
            self.looks -= 1;
            if wanted(&row) {
                room -= 1;
                self.taken.push(row);
            } else {
                passed.push(row);
            }
        }
        passed.into_iter().rev().for_each(|row| lane.push_front(row));
    }
}

#[cfg(test)]
mod tests;

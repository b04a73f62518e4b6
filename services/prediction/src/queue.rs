//! Rows that wait for a model, ordered by priority and then by arrival. Of the rows that are older than the age bound
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

/// One row that waits.
#[derive(Debug)]
pub(crate) struct QueuedRow {
    pub item: Item<Features>,
    /// Index of its delivery in [`crate::deliveries::Deliveries`].
    pub delivery: usize,
    pub arrived: Instant,
    /// When the mesh accepted it: its age counts from there, through every stage and topic.
    pub accepted: Instant,
}

impl QueuedRow {
    /// A row that arrives now.
    pub(crate) fn arriving(item: Item<Features>, delivery: usize, now: Instant, now_us: u64) -> Self {
        let age = Duration::from_micros(now_us.saturating_sub(item.context.accepted_us()));
        Self { item, delivery, arrived: now, accepted: now.checked_sub(age).unwrap_or(now) }
    }
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
    share: AgeShare,
}

/// Says when it is the turn of the oldest late row.
#[derive(Debug, Default)]
pub(crate) struct AgeShare {
    /// Rows taken by priority since the last one taken by age.
    by_priority: u32,
}

impl AgeShare {
    /// Takes the oldest late row in every eighth call, else `None`. The turn of age is kept while no row is late.
    pub(crate) fn take<T>(&mut self, oldest_late: impl FnOnce() -> Option<T>) -> Option<T> {
        self.by_priority = (self.by_priority + 1).min(AGE_SHARE);
        if self.by_priority < AGE_SHARE {
            return None;
        }
        let oldest = oldest_late()?;
        self.by_priority = 0;
        Some(oldest)
    }
}

impl Queue {
    pub(crate) fn new(max_age: Duration) -> Self {
        Self { lanes: BTreeMap::new(), max_age, share: AgeShare::default() }
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
        self.pop_level(level)
    }

    fn next_level(&mut self, now: Instant) -> Option<i32> {
        let best = self.best_level()?;
        if self.lanes.len() == 1 {
            return Some(best);
        }
        let Self { lanes, max_age, share } = self;
        Some(share.take(|| oldest_late(lanes, now, *max_age)).map_or(best, |(level, _)| level))
    }

    /// The best priority of a row.
    pub(crate) fn best_level(&self) -> Option<i32> {
        self.lanes.first_key_value().map(|(level, _)| *level)
    }

    /// The lane whose head is the oldest of those past the age bound, and when that was accepted.
    pub(crate) fn oldest_late(&self, now: Instant) -> Option<(i32, Instant)> {
        oldest_late(&self.lanes, now, self.max_age)
    }

    /// The oldest row of one priority.
    pub(crate) fn pop_level(&mut self, level: i32) -> Option<QueuedRow> {
        let lane = self.lanes.get_mut(&level)?;
        let row = lane.pop_front();
        if lane.is_empty() {
            self.lanes.remove(&level);
        }
        row
    }

    /// Removes up to `room` rows in the order in which [`Queue::pop`] would reach them but for the share of age: an
    /// eighth of the room is for the lane with the oldest late row. Rows of one priority keep their order.
    pub(crate) fn take(&mut self, now: Instant, room: usize) -> Vec<QueuedRow> {
        let mut taken = Vec::new();
        if let Some((level, _)) = self.oldest_late(now)
            && let Some(lane) = self.lanes.get_mut(&level)
        {
            taken.extend(lane.drain(..lane.len().min(room / AGE_SHARE as usize)));
        }
        for lane in self.lanes.values_mut() {
            let left = room - taken.len();
            taken.extend(lane.drain(..lane.len().min(left)));
        }
        self.lanes.retain(|_, lane| !lane.is_empty());
        taken
    }
}

fn oldest_late(lanes: &BTreeMap<i32, VecDeque<QueuedRow>>, now: Instant, max_age: Duration) -> Option<(i32, Instant)> {
    let heads = lanes.iter().filter_map(|(level, lane)| Some((*level, lane.front()?.accepted)));
    let late = heads.filter(|(_, accepted)| now.saturating_duration_since(*accepted) >= max_age);
    late.min_by_key(|(_, accepted)| *accepted)
}

#[cfg(test)]
mod tests;

//! Rows that wait for a model, ordered by priority and then by arrival. A row that has waited for the age bound goes
//! first.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use forebay_contract::{Features, Item};

use crate::infer::PinnedVersion;

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
    lanes: BTreeMap<i32, VecDeque<QueuedRow>>,
    max_age: Duration,
}

impl Queue {
    pub(crate) fn new(max_age: Duration) -> Self {
        Self { lanes: BTreeMap::new(), max_age }
    }

    pub(crate) fn push(&mut self, row: QueuedRow) {
        self.lanes.entry(row.item.context.priority()).or_default().push_back(row);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// The oldest row if it is past the age bound, else the oldest of the best priority.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<QueuedRow> {
        let best = *self.lanes.first_key_value()?.0;
        let late = |row: &QueuedRow| now.saturating_duration_since(row.arrived) >= self.max_age;
        let heads = self.lanes.iter().filter_map(|(priority, lane)| Some((*priority, lane.front()?)));
        let oldest = if self.lanes.len() == 1 {
            None
        } else {
            heads.filter(|(_, row)| late(row)).min_by_key(|(_, row)| row.arrived)
        };
        let priority = oldest.map_or(best, |(priority, _)| priority);
        let lane = self.lanes.get_mut(&priority)?;
        let row = lane.pop_front();
        if lane.is_empty() {
            self.lanes.remove(&priority);
        }
        row
    }

    /// Removes every row that `wanted` accepts. Rows of one priority keep their order.
    pub(crate) fn extract(&mut self, mut wanted: impl FnMut(&QueuedRow) -> bool) -> Vec<QueuedRow> {
        let mut taken = Vec::new();
        self.lanes.retain(|_, lane| {
            let (out, kept): (Vec<QueuedRow>, Vec<QueuedRow>) = lane.drain(..).partition(&mut wanted);
            taken.extend(out);
            lane.extend(kept);
            !lane.is_empty()
        });
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes;

    const MAX_AGE: Duration = Duration::from_millis(250);

    /// Rows `(priority, milliseconds before now)`; the delivery numbers them.
    fn queue(rows: &[(i32, u64)]) -> (Queue, Instant) {
        let now = Instant::now() + Duration::from_secs(10);
        let mut queue = Queue::new(MAX_AGE);
        for (delivery, &(priority, age)) in rows.iter().enumerate() {
            let item = fakes::item(priority, "m", 1, &[1.0]);
            queue.push(QueuedRow { item, delivery, arrived: now - Duration::from_millis(age) });
        }
        (queue, now)
    }

    fn order(mut queue: Queue, now: Instant) -> Vec<usize> {
        std::iter::from_fn(|| queue.pop(now)).map(|row| row.delivery).collect()
    }

    #[test]
    fn priority_first_then_arrival() {
        let (queue, now) = queue(&[(1, 50), (5, 49), (0, 48), (1, 47), (-3, 46)]);
        assert_eq!(order(queue, now), [4, 2, 0, 3, 1]);
    }

    #[test]
    fn no_row_waits_past_the_age_bound() {
        let (queue, now) = queue(&[(9, 400), (5, 300), (0, 100), (9, 10), (0, 5)]);
        assert_eq!(order(queue, now), [0, 1, 2, 4, 3]);
    }

    #[test]
    fn what_is_wanted_is_taken_out_in_order() {
        let (mut queue, now) = queue(&[(1, 9), (2, 8), (1, 7), (1, 6)]);
        let taken: Vec<usize> = queue.extract(|row| row.delivery != 2).into_iter().map(|row| row.delivery).collect();
        assert_eq!(taken, [0, 3, 1]);
        assert_eq!(order(queue, now), [2]);
    }
}

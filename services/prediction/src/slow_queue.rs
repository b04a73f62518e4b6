//! Rows of versions that run on separate threads. Each version has a queue of its own, and of rows of one priority the
//! versions take turns: a call is bounded in time, so that a model waits for a call of each other one and not for all
//! the rows of a slow one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::loader_commands::VersionName;
use crate::queue::{AgeShare, Queue, QueuedRow};

/// The queues by version.
#[derive(Debug)]
pub(crate) struct SlowQueue {
    /// The version whose last turn was the longest ago is first; none is empty.
    versions: VecDeque<VersionQueue>,
    max_age: Duration,
    share: AgeShare,
}

#[derive(Debug)]
struct VersionQueue {
    model: String,
    number: u32,
    rows: Queue,
}

impl SlowQueue {
    pub(crate) fn new(max_age: Duration) -> Self {
        Self { versions: VecDeque::new(), max_age, share: AgeShare::default() }
    }

    pub(crate) fn push(&mut self, row: QueuedRow) {
        let (model, number) = (&row.item.payload.model, row.item.payload.version);
        match self.position(model, number) {
            Some(index) => self.versions[index].rows.push(row),
            None => {
                let (model, mut rows) = (model.clone(), Queue::new(self.max_age));
                rows.push(row);
                self.versions.push_back(VersionQueue { model, number, rows });
            }
        }
    }

    /// The oldest row of the best priority, of the version whose turn it is and that is not `busy`; in every eighth call the
    /// oldest of those past the age bound.
    pub(crate) fn pop(&mut self, now: Instant, busy: &[VersionName]) -> Option<QueuedRow> {
        let (index, level) = self.next(now, busy)?;
        let mut turn = self.versions.remove(index)?;
        let row = turn.rows.pop_level(level);
        if !turn.rows.is_empty() {
            self.versions.push_back(turn);
        }
        row
    }

    /// Removes up to `room` rows of one version, in the order of [`Queue::take`].
    pub(crate) fn take(&mut self, model: &str, number: u32, now: Instant, room: usize) -> Vec<QueuedRow> {
        let Some(index) = self.position(model, number) else { return Vec::new() };
        let rows = self.versions[index].rows.take(now, room);
        if self.versions[index].rows.is_empty() {
            self.versions.remove(index);
        }
        rows
    }

    fn next(&mut self, now: Instant, busy: &[VersionName]) -> Option<(usize, i32)> {
        let Self { versions, share, .. } = self;
        let is_free = |version: &VersionQueue| {
            !busy.iter().any(|(model, number)| *number == version.number && *model == version.model)
        };
        let heads = versions.iter().enumerate().filter(|(_, version)| is_free(version));
        let late = || {
            let heads = versions.iter().enumerate().filter(|(_, version)| is_free(version));
            let late = heads.filter_map(|(index, version)| Some((index, version.rows.oldest_late(now)?)));
            late.min_by_key(|(_, (_, accepted))| *accepted).map(|(index, (level, _))| (index, level))
        };
        // the first of equal ones
        let best = heads.filter_map(|(index, version)| Some((index, version.rows.best_level()?))).min_by_key(|it| it.1);
        share.take(late).or(best)
    }

    fn position(&self, model: &str, number: u32) -> Option<usize> {
        self.versions.iter().position(|version| version.number == number && version.model == model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes;

    const MAX_AGE: Duration = Duration::from_millis(250);

    fn row(model: &str, priority: i32, delivery: usize, accepted: Instant) -> QueuedRow {
        let item = fakes::item(priority, model, 1, &[1.0]);
        QueuedRow { item, delivery, arrived: accepted, accepted }
    }

    /// Deliveries in the order in which groups of up to `room` rows leave.
    fn groups(queue: &mut SlowQueue, now: Instant, room: usize) -> Vec<Vec<usize>> {
        std::iter::from_fn(|| {
            let first = queue.pop(now, &[])?;
            let more = queue.take(&first.item.payload.model, 1, now, room - 1);
            Some(std::iter::once(first).chain(more).map(|row| row.delivery).collect())
        })
        .collect()
    }

    #[test]
    fn models_take_turns_whatever_waits_for_one_of_them() {
        let (mut queue, now) = (SlowQueue::new(MAX_AGE), Instant::now());
        (0..2_000).for_each(|delivery| queue.push(row("slow", 1, delivery, now)));
        queue.push(row("other", 1, 5_000, now));
        queue.push(row("other", 1, 5_001, now));
        let groups = groups(&mut queue, now, 5);
        assert_eq!(groups[..3], [vec![0, 1, 2, 3, 4], vec![5_000, 5_001], vec![5, 6, 7, 8, 9]]);
        assert_eq!(groups.concat().len(), 2_002);
    }

    #[test]
    fn a_better_priority_goes_before_the_turn_of_a_model() {
        let (mut queue, now) = (SlowQueue::new(MAX_AGE), Instant::now());
        queue.push(row("a", 1, 0, now));
        queue.push(row("b", 1, 1, now));
        queue.push(row("b", 0, 2, now));
        queue.push(row("a", 5, 3, now));
        assert_eq!(groups(&mut queue, now, 1), [[2], [0], [1], [3]]);
    }

    #[test]
    fn a_busy_version_waits_and_the_others_do_not() {
        let (mut queue, now) = (SlowQueue::new(MAX_AGE), Instant::now());
        queue.push(row("a", 0, 0, now - 2 * MAX_AGE));
        queue.push(row("b", 1, 1, now));
        let busy = [("a".to_owned(), 1)];
        assert_eq!(queue.pop(now, &busy).unwrap().delivery, 1);
        assert!(queue.pop(now, &busy).is_none());
        assert_eq!(queue.pop(now, &[("a".to_owned(), 2)]).unwrap().delivery, 0);
    }

    #[test]
    fn the_oldest_late_row_has_an_eighth_of_the_calls() {
        let (mut queue, now) = (SlowQueue::new(MAX_AGE), Instant::now() + Duration::from_secs(10));
        queue.push(row("low", 9, 100, now - MAX_AGE));
        (0..20).for_each(|delivery| queue.push(row("high", 0, delivery, now)));
        let order = groups(&mut queue, now, 1).concat();
        assert_eq!(order.iter().position(|delivery| *delivery == 100), Some(7));
    }
}

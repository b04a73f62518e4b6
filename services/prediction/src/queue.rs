//! What waits for the model, in order: priority, then arrival, but nobody waits past an age bound behind others.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use forebay_contract::{Features, Item};

/// One row that waits.
#[derive(Debug)]
pub(crate) struct Job {
    pub item: Item<Features>,
    /// Place of its delivery.
    pub delivery: usize,
    pub arrived: Instant,
}

/// An ordered queue. Permits bound it.
#[derive(Debug)]
pub(crate) struct Queue {
    lanes: BTreeMap<i32, VecDeque<Job>>,
    max_age: Duration,
}

impl Queue {
    pub(crate) fn new(max_age: Duration) -> Self {
        Self { lanes: BTreeMap::new(), max_age }
    }

    pub(crate) fn push(&mut self, job: Job) {
        self.lanes.entry(job.item.context.priority()).or_default().push_back(job);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }

    /// The oldest job if it is past the age bound, else the oldest of the best priority.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<Job> {
        let best = *self.lanes.first_key_value()?.0;
        let late = |job: &Job| now.saturating_duration_since(job.arrived) >= self.max_age;
        let heads = self.lanes.iter().filter_map(|(priority, lane)| Some((*priority, lane.front()?)));
        let oldest = if self.lanes.len() == 1 {
            None
        } else {
            heads.filter(|(_, job)| late(job)).min_by_key(|(_, job)| job.arrived)
        };
        let priority = oldest.map_or(best, |(priority, _)| priority);
        let lane = self.lanes.get_mut(&priority)?;
        let job = lane.pop_front();
        if lane.is_empty() {
            self.lanes.remove(&priority);
        }
        job
    }

    /// Takes every job that `wanted` accepts, in no particular order of lanes but in order within each.
    pub(crate) fn extract(&mut self, mut wanted: impl FnMut(&Job) -> bool) -> Vec<Job> {
        let mut taken = Vec::new();
        self.lanes.retain(|_, lane| {
            let (out, kept): (Vec<Job>, Vec<Job>) = lane.drain(..).partition(&mut wanted);
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

    /// Jobs `(priority, milliseconds before now)`; the delivery numbers them.
    fn queue(jobs: &[(i32, u64)]) -> (Queue, Instant) {
        let now = Instant::now() + Duration::from_secs(10);
        let mut queue = Queue::new(MAX_AGE);
        for (delivery, &(priority, age)) in jobs.iter().enumerate() {
            let item = fakes::item(priority, "m", 1, &[1.0]);
            queue.push(Job { item, delivery, arrived: now - Duration::from_millis(age) });
        }
        (queue, now)
    }

    fn order(mut queue: Queue, now: Instant) -> Vec<usize> {
        std::iter::from_fn(|| queue.pop(now)).map(|job| job.delivery).collect()
    }

    #[test]
    fn priority_first_then_arrival() {
        let (queue, now) = queue(&[(1, 50), (5, 49), (0, 48), (1, 47), (-3, 46)]);
        assert_eq!(order(queue, now), [4, 2, 0, 3, 1]);
    }

    #[test]
    fn nobody_waits_past_the_age_bound() {
        let (queue, now) = queue(&[(9, 400), (5, 300), (0, 100), (9, 10), (0, 5)]);
        assert_eq!(order(queue, now), [0, 1, 2, 4, 3]);
    }

    #[test]
    fn what_is_wanted_is_taken_out_in_order() {
        let (mut queue, now) = queue(&[(1, 9), (2, 8), (1, 7), (1, 6)]);
        let taken: Vec<usize> = queue.extract(|job| job.delivery != 2).into_iter().map(|job| job.delivery).collect();
        assert_eq!(taken, [0, 3, 1]);
        assert_eq!(order(queue, now), [2]);
    }
}

//! Early rejection: a request that would wait for longer than it may is refused while it costs nothing.
//!
//! The wait of a new request is estimated by Little's law, as the rows that wait divided by the rate at which rows are
//! answered, for each model and lane of priority by itself. An estimate counts only while the answers that come have
//! waited as well: where nothing comes, or only what had nothing before it (a replica is gone, a broker hangs), requests
//! are kept until it is over, within the other limits.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_contract::Lane;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

/// The answers of this time make the rate, ...
const WINDOW: Duration = Duration::from_secs(1);
/// ... or those of the time since the first of them, and at least of this.
const LEAST_WINDOW: Duration = Duration::from_millis(50);
/// The fewest answers that make a rate.
const LEAST_ANSWERS: usize = 8;
/// An answer that took one in so many parts of the bound has waited in a queue, ...
const QUEUED: u32 = 8;
/// ... and there is a queue if one answer in so many has.
const QUEUED_SHARE: usize = 4;

/// The rows that wait, and how fast they are answered. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct WaitEstimates(Arc<Estimates>);

#[derive(Debug)]
struct Estimates {
    max_wait: Duration,
    /// By model and lane, while rows wait: names are chosen by clients.
    queues: Mutex<FxHashMap<Arc<str>, [Option<WaitQueue>; 3]>>,
}

#[derive(Debug, Default)]
struct WaitQueue {
    rows: usize,
    /// Oldest first.
    answers: VecDeque<RowsAnswered>,
    /// Sums over `answers`.
    answered_rows: usize,
    queued: usize,
}

#[derive(Debug)]
struct RowsAnswered {
    at: Instant,
    rows: usize,
    queued: bool,
}

/// The rows of one request while it waits. Dropped, they have left without an answer.
#[derive(Debug)]
pub(super) struct WaitingRows {
    estimates: WaitEstimates,
    model: Arc<str>,
    lane: Lane,
    rows: usize,
    since: Instant,
    answered: bool,
}

impl WaitEstimates {
    /// Refuses what would wait for longer than `max_wait`; nothing if that is zero.
    pub(crate) fn new(max_wait: Duration) -> Self {
        Self(Arc::new(Estimates { max_wait, queues: Mutex::default() }))
    }

    /// A request with rows for a model, which is worth waiting `longest` for; `None` if it is in any case.
    ///
    /// # Errors
    /// The wait that is to be expected, if that is too long.
    pub(super) fn enter(
        &self,
        model: &str,
        lane: Lane,
        rows: usize,
        longest: Option<Duration>,
        now: Instant,
    ) -> Result<WaitingRows, Duration> {
        let max_wait = self.0.max_wait;
        let mut queues = self.0.queues.lock();
        let model = queues.get_key_value(model).map_or_else(|| model.into(), |(model, _)| Arc::clone(model));
        let queue = queues.entry(Arc::clone(&model)).or_default()[lane.index()].get_or_insert_default();
        queue.forget(now);
        if !max_wait.is_zero()
            && let Some(longest) = longest
            && let Some(wait) = queue.expected_wait(now)
            && wait > max_wait.min(longest)
        {
            return Err(wait);
        }
        queue.rows += rows;
        Ok(WaitingRows { estimates: self.clone(), model, lane, rows, since: now, answered: false })
    }

    fn leave(&self, waiting: &WaitingRows, now: Instant) {
        let mut queues = self.0.queues.lock();
        let Some(lanes) = queues.get_mut(&waiting.model) else { return };
        let Some(queue) = &mut lanes[waiting.lane.index()] else { return };
        queue.rows = queue.rows.saturating_sub(waiting.rows);
        if waiting.answered {
            let queued = now.saturating_duration_since(waiting.since) * QUEUED >= self.0.max_wait;
            queue.answered(RowsAnswered { at: now, rows: waiting.rows, queued });
        }
        if queue.rows == 0 {
            lanes[waiting.lane.index()] = None;
            if lanes.iter().all(Option::is_none) {
                queues.remove(&waiting.model);
            }
        }
    }
}

impl WaitQueue {
    fn answered(&mut self, answer: RowsAnswered) {
        self.answered_rows += answer.rows;
        self.queued += usize::from(answer.queued);
        self.forget(answer.at);
        self.answers.push_back(answer);
    }

    fn forget(&mut self, now: Instant) {
        while let Some(old) = self.answers.pop_front_if(|it| now.saturating_duration_since(it.at) > WINDOW) {
            self.answered_rows -= old.rows;
            self.queued -= usize::from(old.queued);
        }
    }

    fn expected_wait(&self, now: Instant) -> Option<Duration> {
        let answers = self.answers.len();
        if answers < LEAST_ANSWERS || self.queued * QUEUED_SHARE < answers || self.answered_rows == 0 {
            return None;
        }
        let first = self.answers.front()?.at;
        let window = now.saturating_duration_since(first).clamp(LEAST_WINDOW, WINDOW);
        Some(window.mul_f64(self.rows as f64 / self.answered_rows as f64))
    }
}

impl WaitingRows {
    /// They have been answered.
    pub(super) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for WaitingRows {
    fn drop(&mut self) {
        self.estimates.leave(self, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_WAIT: Duration = Duration::from_secs(1);
    const LONG: Option<Duration> = Some(Duration::from_secs(60));
    const TICK: Duration = Duration::from_millis(2);

    /// A model that answers one row each `TICK`, in order, and `each` requests that arrive meanwhile, for `ticks`.
    /// Returns how long each answered request took, and how many were refused.
    fn run(estimates: &WaitEstimates, begin: Instant, each: usize, ticks: u32) -> (Vec<Duration>, usize) {
        let (mut waiting, mut took, mut refused) = (VecDeque::new(), Vec::new(), 0);
        for tick in 0..ticks {
            let now = begin + TICK * tick;
            for _ in 0..each {
                match estimates.enter("m", Lane::Normal, 1, LONG, now) {
                    Ok(rows) => waiting.push_back(rows),
                    Err(wait) => {
                        assert!(wait > MAX_WAIT);
                        refused += 1;
                    }
                }
            }
            if let Some(mut rows) = waiting.pop_front() {
                rows.answered = true;
                took.push(now - rows.since);
                estimates.leave(&rows, now);
                std::mem::forget(rows);
            }
        }
        (took, refused)
    }

    #[test]
    fn ten_times_the_capacity_is_refused_early_and_what_is_accepted_keeps_its_time() {
        let estimates = WaitEstimates::new(MAX_WAIT);
        let begin = Instant::now();
        let (mut took, refused) = run(&estimates, begin, 10, 10_000);
        assert_eq!(took.len(), 10_000, "the model was never idle");
        assert!(refused > 85_000, "{refused}");
        took.sort_unstable();
        assert!(took[9_900] < MAX_WAIT * 3 / 2, "{:?}", took[9_900]);
    }

    #[test]
    fn nothing_is_refused_within_the_capacity() {
        let (took, refused) = run(&WaitEstimates::new(MAX_WAIT), Instant::now(), 1, 5_000);
        assert_eq!((took.len(), refused), (5_000, 0));
        let (_, refused) = run(&WaitEstimates::new(Duration::ZERO), Instant::now(), 10, 2_000);
        assert_eq!(refused, 0, "a bound of zero is none");
    }

    #[test]
    fn an_outage_of_a_part_refuses_nothing() {
        let estimates = WaitEstimates::new(MAX_WAIT);
        let begin = Instant::now();
        let mut stuck = Vec::new();
        for tick in 0..2_000 {
            let now = begin + TICK * tick;
            // one that is answered at once, one that is not
            let mut rows = estimates.enter("m", Lane::Normal, 1, LONG, now).unwrap();
            stuck.push(estimates.enter("m", Lane::Normal, 1, LONG, now).unwrap());
            rows.answered = true;
            estimates.leave(&rows, now + Duration::from_millis(1));
            std::mem::forget(rows);
        }
        drop(stuck);
        assert!(estimates.0.queues.lock().is_empty());
    }

    #[test]
    fn lanes_and_models_are_estimated_by_themselves() {
        let estimates = WaitEstimates::new(MAX_WAIT);
        let begin = Instant::now();
        let _waiting: Vec<WaitingRows> =
            (0..400).map(|_| estimates.enter("m", Lane::Low, 1, LONG, begin).unwrap()).collect();
        for tick in 1..=100 {
            let now = begin + 2 * TICK * tick;
            let mut rows = estimates.enter("m", Lane::Low, 1, LONG, begin).unwrap();
            rows.answered = true;
            estimates.leave(&rows, now);
            std::mem::forget(rows);
        }
        // 250 a second, 400 wait
        let now = begin + 2 * TICK * 100;
        assert!(estimates.enter("m", Lane::Low, 1, LONG, now).unwrap_err() > MAX_WAIT);
        assert!(estimates.enter("m", Lane::High, 1, LONG, now).is_ok());
        assert!(estimates.enter("other", Lane::Low, 1, LONG, now).is_ok());
    }
}

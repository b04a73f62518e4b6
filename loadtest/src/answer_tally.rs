//! Counting answers: who has one, who has two, who has none.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::latency::Latencies;
use crate::received_result::{ReceivedResult, ResultStatus, owner, quick_index};
use crate::run::{ResultOwner, RunId};
use crate::schedule::Schedule;

/// The answers to the requests `0..count` of one run.
#[derive(Debug)]
pub struct AnswerTally {
    run: RunId,
    rows: usize,
    origin: Instant,
    /// Microseconds after `origin`, plus one, of the first answer to each request; 0 = none yet.
    arrivals: Vec<u64>,
    /// First answers so far.
    pub answered: u64,
    /// Second and further answers to the same request.
    pub duplicates: u64,
    /// Answers with our prefix to requests that do not exist.
    pub unknown: u64,
    /// Other clients' answers.
    pub foreign: u64,
    /// Records that are no result at all.
    pub unreadable: u64,
    /// Out of the cache.
    pub cached: u64,
    /// Failures by code.
    pub errors: BTreeMap<String, u64>,
}

impl AnswerTally {
    /// For `count` requests of `rows` rows each; arrivals are kept relative to `origin`.
    #[must_use]
    pub fn new(run: RunId, rows: usize, count: u64, origin: Instant) -> Self {
        let arrivals = vec![0; usize::try_from(count).unwrap_or(0)];
        let (duplicates, unknown, foreign, unreadable, cached) = (0, 0, 0, 0, 0);
        let errors = BTreeMap::new();
        Self { run, rows, origin, arrivals, answered: 0, duplicates, unknown, foreign, unreadable, cached, errors }
    }

    /// The run whose answers are counted.
    #[must_use]
    pub fn run(&self) -> &RunId {
        &self.run
    }

    /// Counts one record of the result topic. Looks into successful answers only as far as needed when `quick`.
    pub fn record(&mut self, bytes: &[u8], at: Instant, quick: bool) {
        if quick && let Some(index) = quick_index(&self.run, bytes) {
            return self.first(index, at, ResultStatus::Predicted { cached: false });
        }
        let Ok(answer) = ReceivedResult::parse(bytes) else {
            self.unreadable += 1;
            return;
        };
        match owner(&self.run, &answer) {
            ResultOwner::Ours(index) => self.first(index, at, answer.status(self.rows)),
            ResultOwner::Garbled => self.unknown += 1,
            ResultOwner::Foreign => self.foreign += 1,
        }
    }

    /// Counts an answer to request `index`.
    pub fn first(&mut self, index: u64, at: Instant, status: ResultStatus) {
        let Some(arrival) = usize::try_from(index).ok().and_then(|index| self.arrivals.get_mut(index)) else {
            self.unknown += 1;
            return;
        };
        if *arrival != 0 {
            self.duplicates += 1;
            return;
        }
        let since = at.saturating_duration_since(self.origin);
        *arrival = u64::try_from(since.as_micros()).unwrap_or(u64::MAX - 1) + 1;
        self.answered += 1;
        match status {
            ResultStatus::Predicted { cached } => self.cached += u64::from(cached),
            ResultStatus::Failed(code) => *self.errors.entry(code).or_default() += 1,
        }
    }

    /// Whether every request has an answer.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.answered == self.arrivals.len() as u64
    }

    /// Latency of every answered request behind the warm-up, from its scheduled send.
    #[must_use]
    pub fn latencies(&self, schedule: &Schedule) -> Latencies {
        let mut latencies = Latencies::new();
        let first = usize::try_from(schedule.warmup()).unwrap_or(usize::MAX);
        for (index, arrival) in self.arrivals.iter().enumerate().skip(first) {
            if *arrival != 0 {
                let at = self.origin + Duration::from_micros(*arrival - 1);
                latencies.record(at.saturating_duration_since(schedule.due(index as u64)));
            }
        }
        latencies
    }

    /// From `origin` to the last first answer.
    #[must_use]
    pub fn last_arrival(&self) -> Option<Duration> {
        self.arrivals.iter().max().filter(|last| **last != 0).map(|last| Duration::from_micros(last - 1))
    }

    /// Examples of requests without an answer.
    #[must_use]
    pub fn unanswered(&self, limit: usize) -> Vec<u64> {
        let missing = self.arrivals.iter().enumerate().filter(|(_, arrival)| **arrival == 0);
        missing.map(|(index, _)| index as u64).take(limit).collect()
    }

    /// Answer times in order, as microseconds after `origin`.
    #[must_use]
    pub fn ordered_arrivals(&self) -> Vec<u64> {
        let mut order: Vec<u64> =
            self.arrivals.iter().filter(|arrival| **arrival != 0).map(|arrival| arrival - 1).collect();
        order.sort_unstable();
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_second_unknown_foreign_and_broken_answers_are_distinguished() {
        let origin = Instant::now();
        let mut tally = AnswerTally::new(RunId::parse("ab12cd34").unwrap(), 1, 3, origin);
        for body in [
            &br#"{"request_id":"ab12cd34-0","prediction":1.0}"#[..],
            br#"{"request_id":"ab12cd34-0","prediction":1.0}"#,
            br#"{"request_id":"ab12cd34-2","prediction":null,"error":{"code":"overloaded","message":""}}"#,
            br#"{"request_id":"ab12cd34-3","prediction":1.0}"#,
            br#"{"request_id":"ab12cd34-zz","prediction":1.0}"#,
            br#"{"request_id":"load_test_0","prediction":1.0}"#,
            br#"{"request_id":null,"prediction":1.0}"#,
            b"{oops",
        ] {
            tally.record(body, origin, true);
        }
        let counts = (tally.answered, tally.duplicates, tally.unknown, tally.foreign, tally.unreadable);
        assert_eq!(counts, (2, 1, 2, 2, 1));
        assert_eq!(tally.errors.get("overloaded"), Some(&1));
        assert_eq!(tally.unanswered(10), vec![1]);
        assert!(!tally.complete());
    }

    #[test]
    fn latency_counts_from_the_schedule_and_leaves_the_warm_up_out() {
        let start = Instant::now();
        let schedule = Schedule::new(start, 10.0, Duration::from_millis(100), Duration::from_millis(200));
        let mut tally = AnswerTally::new(RunId::parse("ab12cd34").unwrap(), 1, schedule.count(), start);
        let answered = ResultStatus::Predicted { cached: false };
        tally.first(0, start + Duration::from_secs(5), answered.clone());
        tally.first(1, start + Duration::from_millis(110), answered.clone());
        tally.first(2, start + Duration::from_millis(220), answered);
        let p = tally.latencies(&schedule).percentiles();
        assert_eq!(p.count, 2, "the answer to the warm-up request must not be measured");
        assert!((p.max - 20.0).abs() < 0.1 && (p.p50 - 10.0).abs() < 0.1, "{p:?}");
    }
}

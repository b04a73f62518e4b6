//! Leaves a second level that does not answer alone for a while. The clock is passed in.

use std::time::{Duration, Instant};

/// Closed, open, or half-open with one probe on its way.
#[derive(Debug)]
pub(crate) struct Breaker {
    limit: u32,
    open_for: Duration,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    Probing { until: Instant },
}

/// Whether to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    /// Yes.
    Ask,
    /// Yes, and this is the first try after a pause.
    Probe,
    /// No.
    Leave,
}

impl Breaker {
    /// `limit` failures in a row open it for `open_for`.
    pub(crate) fn new(limit: u32, open_for: Duration) -> Self {
        Self { limit: limit.max(1), open_for, state: State::Closed { failures: 0 } }
    }

    /// Whether to ask now. A probe that is never reported on is taken as lost after the time of a pause.
    pub(crate) fn permission(&mut self, now: Instant) -> Permission {
        match self.state {
            State::Closed { .. } => Permission::Ask,
            State::Open { until } | State::Probing { until } if now >= until => {
                self.state = State::Probing { until: now + self.open_for };
                Permission::Probe
            }
            State::Open { .. } | State::Probing { .. } => Permission::Leave,
        }
    }

    /// Whether a store may be tried: stores are never the probe.
    pub(crate) fn closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    /// An answer came. True when this closed the breaker.
    pub(crate) fn succeeded(&mut self) -> bool {
        let was_open = !self.closed();
        // A late answer to a question from before the pause says nothing about now; the probe does.
        if !matches!(self.state, State::Open { .. }) {
            self.state = State::Closed { failures: 0 };
            return was_open;
        }
        false
    }

    /// No answer came. True when this opened the breaker.
    pub(crate) fn failed(&mut self, now: Instant) -> bool {
        let open = State::Open { until: now + self.open_for };
        match self.state {
            State::Closed { failures } if failures + 1 < self.limit => {
                self.state = State::Closed { failures: failures + 1 };
                false
            }
            State::Closed { .. } => {
                self.state = open;
                true
            }
            State::Probing { .. } => {
                self.state = open;
                false
            }
            State::Open { .. } => false,
        }
    }

    /// 0 closed, 1 half-open, 2 open.
    pub(crate) fn gauge(&self) -> i64 {
        match self.state {
            State::Closed { .. } => 0,
            State::Probing { .. } => 1,
            State::Open { .. } => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(5);

    #[test]
    fn opens_after_failures_in_a_row_only() {
        let now = Instant::now();
        let mut breaker = Breaker::new(3, PAUSE);
        assert!(!breaker.failed(now) && !breaker.failed(now));
        breaker.succeeded();
        assert!(!breaker.failed(now) && !breaker.failed(now));
        assert_eq!(breaker.permission(now), Permission::Ask);
        assert!(breaker.failed(now));
        assert_eq!(breaker.permission(now), Permission::Leave);
        assert!(!breaker.closed());
        assert_eq!(breaker.gauge(), 2);
    }

    #[test]
    fn one_probe_decides() {
        let start = Instant::now();
        let mut breaker = Breaker::new(1, PAUSE);
        breaker.failed(start);
        assert_eq!(breaker.permission(start + PAUSE), Permission::Probe);
        assert_eq!(breaker.permission(start + PAUSE), Permission::Leave);
        breaker.failed(start + PAUSE);
        assert_eq!(breaker.permission(start + PAUSE), Permission::Leave);
        assert_eq!(breaker.permission(start + PAUSE * 2), Permission::Probe);
        assert!(breaker.succeeded());
        assert_eq!(breaker.permission(start + PAUSE * 2), Permission::Ask);
    }

    #[test]
    fn a_late_answer_does_not_close_it_and_a_lost_probe_does_not_hold_it() {
        let start = Instant::now();
        let mut breaker = Breaker::new(1, PAUSE);
        breaker.failed(start);
        assert!(!breaker.succeeded());
        assert_eq!(breaker.permission(start), Permission::Leave);
        assert_eq!(breaker.permission(start + PAUSE), Permission::Probe);
        assert_eq!(breaker.permission(start + PAUSE * 2), Permission::Probe);
    }
}

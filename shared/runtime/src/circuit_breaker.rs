//! A circuit breaker: closed, open, half-open (M. Nygard, "Release It!"). It knows no clock; the time is passed in.

use std::time::{Duration, Instant};

/// When a breaker opens and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CircuitPolicy {
    /// Consecutive failures that open the breaker; 0 counts as 1.
    pub failures: u32,
    /// How long the breaker stays open before it lets a probe through.
    pub open: Duration,
}

/// The breaker's decision about one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitAdmission {
    /// The breaker is closed: make the call.
    Allowed,
    /// The breaker was open until now: make the call and report its result, which decides whether the breaker closes.
    Probe,
    /// Do not make the call. A probe is due after this time.
    Refused(Duration),
}

/// The state of a breaker; the last two are half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CircuitState {
    /// Calls are made.
    Closed,
    /// Calls are refused.
    Open,
    /// The next call will be a probe.
    ProbeDue,
    /// A probe is in flight.
    Probing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
    },
    /// A probe is in flight. If it never reports, the next call after `until` is a new probe.
    HalfOpen {
        until: Instant,
    },
}

/// Stops calls to something that keeps failing, and probes it from time to time.
#[derive(Debug, Clone)]
pub struct CircuitBreaker {
    policy: CircuitPolicy,
    state: State,
}

impl CircuitBreaker {
    /// A closed breaker.
    pub fn new(policy: CircuitPolicy) -> Self {
        Self { policy, state: State::Closed { failures: 0 } }
    }

    /// Decides whether a call may be made at `now`. While the breaker is half-open only one call, the probe, is let
    /// through at a time.
    pub fn admit(&mut self, now: Instant) -> CircuitAdmission {
        match self.state {
            State::Closed { .. } => CircuitAdmission::Allowed,
            State::Open { until } | State::HalfOpen { until } if now < until => CircuitAdmission::Refused(until - now),
            State::Open { .. } | State::HalfOpen { .. } => {
                self.state = State::HalfOpen { until: now + self.policy.open };
                CircuitAdmission::Probe
            }
        }
    }

    /// Records a successful call and returns `true` if this closed the breaker. A call that started before the breaker
    /// opened says nothing about the present, so an open breaker ignores it.
    pub fn succeed(&mut self) -> bool {
        let closes = matches!(self.state, State::HalfOpen { .. });
        if !matches!(self.state, State::Open { .. }) {
            self.state = State::Closed { failures: 0 };
        }
        closes
    }

    /// Records a failed call and returns `true` if this opened the breaker, for the first time or after a failed probe.
    pub fn fail(&mut self, now: Instant) -> bool {
        let failures = match self.state {
            State::Closed { failures } => failures + 1,
            State::HalfOpen { .. } => self.policy.failures,
            State::Open { .. } => return false,
        };
        if failures < self.policy.failures {
            self.state = State::Closed { failures };
            return false;
        }
        self.state = State::Open { until: now + self.policy.open };
        true
    }

    /// Opens the breaker whatever was counted: there is no doubt that calls fail.
    pub fn open(&mut self, now: Instant) {
        if !matches!(self.state, State::Open { .. }) {
            self.state = State::Open { until: now + self.policy.open };
        }
    }

    /// Whether the breaker is not closed: calls are refused, or made as probes.
    pub fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed { .. })
    }

    /// What the breaker would do with a call at `now`.
    pub fn state(&self, now: Instant) -> CircuitState {
        match self.state {
            State::Closed { .. } => CircuitState::Closed,
            State::Open { until } if now < until => CircuitState::Open,
            State::Open { .. } => CircuitState::ProbeDue,
            State::HalfOpen { .. } => CircuitState::Probing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Duration = Duration::from_secs(60);

    fn breaker(failures: u32) -> (CircuitBreaker, Instant) {
        (CircuitBreaker::new(CircuitPolicy { failures, open: OPEN }), Instant::now())
    }

    fn opened(failures: u32) -> (CircuitBreaker, Instant) {
        let (mut breaker, now) = breaker(failures);
        (0..failures).for_each(|_| _ = breaker.fail(now));
        (breaker, now)
    }

    #[test]
    fn it_opens_at_the_fifth_failure_in_a_row() {
        let (mut breaker, now) = breaker(5);
        assert_eq!((0..5).map(|_| breaker.fail(now)).collect::<Vec<_>>(), [false, false, false, false, true]);
        assert_eq!(breaker.admit(now), CircuitAdmission::Refused(OPEN));
        assert!(breaker.is_open() && breaker.state(now) == CircuitState::Open);
        assert_eq!(breaker.state(now + OPEN), CircuitState::ProbeDue, "and not yet in flight");
    }

    #[test]
    fn a_success_restarts_the_count() {
        let (mut breaker, now) = breaker(5);
        (0..4).for_each(|_| _ = breaker.fail(now));
        assert!(!breaker.succeed(), "it was closed already");
        (0..4).for_each(|_| assert!(!breaker.fail(now)));
        assert_eq!(breaker.admit(now), CircuitAdmission::Allowed);
        assert!(breaker.fail(now));
        assert!(matches!(breaker.admit(now), CircuitAdmission::Refused(_)));
    }

    #[test]
    fn one_probe_after_the_open_time() {
        let (mut breaker, now) = opened(5);
        let almost = now + OPEN - Duration::from_millis(1);
        assert_eq!(breaker.admit(almost), CircuitAdmission::Refused(Duration::from_millis(1)));
        assert_eq!(breaker.admit(now + OPEN), CircuitAdmission::Probe);
        assert_eq!(breaker.state(now + OPEN), CircuitState::Probing);
        assert!(matches!(breaker.admit(now + OPEN), CircuitAdmission::Refused(_)), "one at a time");
    }

    #[test]
    fn the_probe_decides() {
        let (mut breaker, now) = opened(5);
        breaker.admit(now + OPEN);
        assert!(breaker.fail(now + OPEN), "a failed probe opens it again");
        assert_eq!(breaker.admit(now + OPEN), CircuitAdmission::Refused(OPEN));
        assert_eq!(breaker.admit(now + OPEN * 2), CircuitAdmission::Probe);
        assert!(breaker.succeed());
        assert!(!breaker.is_open());
        assert!(!breaker.fail(now), "and the count is back at its start");
    }

    #[test]
    fn with_a_limit_of_one_the_probe_decides_as_well() {
        let (mut breaker, start) = opened(1);
        assert_eq!(breaker.admit(start + OPEN), CircuitAdmission::Probe);
        breaker.fail(start + OPEN);
        assert!(matches!(breaker.admit(start + OPEN), CircuitAdmission::Refused(_)));
        assert_eq!(breaker.admit(start + OPEN * 2), CircuitAdmission::Probe);
        assert!(breaker.succeed());
        assert_eq!(breaker.admit(start + OPEN * 2), CircuitAdmission::Allowed);
    }

    #[test]
    fn a_probe_that_never_reports_is_replaced() {
        let (mut breaker, now) = opened(5);
        breaker.admit(now + OPEN);
        assert_eq!(breaker.admit(now + OPEN * 2), CircuitAdmission::Probe);
    }

    #[test]
    fn a_late_result_does_not_close_an_open_breaker() {
        let (mut breaker, now) = opened(5);
        assert!(!breaker.succeed());
        assert!(breaker.is_open());
        assert!(!breaker.fail(now + OPEN / 2), "nor does a late failure keep it open for longer");
        assert_eq!(breaker.admit(now + OPEN), CircuitAdmission::Probe);
    }
}

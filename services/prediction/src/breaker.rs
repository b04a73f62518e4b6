//! A circuit breaker: closed, open, half open (M. Nygard, "Release It!"). Knows no clock; the time is passed in.

use std::time::{Duration, Instant};

/// When a breaker opens and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Failures in a row that open it; at least 1.
    pub failures: u32,
    /// How long it stays open before a probe.
    pub open: Duration,
}

/// What a breaker says to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Call.
    Allowed,
    /// Call, as the one that decides; report the result.
    Probe,
    /// Do not call for so long.
    Refused(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
    },
    /// A probe is under way; one that never reports is given up at `until`.
    HalfOpen {
        until: Instant,
    },
}

/// The breaker of one version.
#[derive(Debug, Clone)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: State,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(policy: BreakerPolicy) -> Self {
        Self { policy, state: State::Closed { failures: 0 } }
    }

    /// Whether a call may be made at `now`. Half open, one call at a time is the probe.
    pub fn admit(&mut self, now: Instant) -> Admission {
        match self.state {
            State::Closed { .. } => Admission::Allowed,
            State::Open { until } | State::HalfOpen { until } if now < until => Admission::Refused(until - now),
            State::Open { .. } | State::HalfOpen { .. } => {
                self.state = State::HalfOpen { until: now + self.policy.open };
                Admission::Probe
            }
        }
    }

    /// A call succeeded: closed, and the count starts again. One that was under way when the breaker opened says nothing.
    pub fn succeed(&mut self) {
        if !matches!(self.state, State::Open { .. }) {
            self.state = State::Closed { failures: 0 };
        }
    }

    /// A call failed. `true` when this opened the breaker.
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

    /// Whether calls are refused or probed.
    pub fn is_open(&self) -> bool {
        !matches!(self.state, State::Closed { .. })
    }

    /// Open, and its time is over: the next call is a probe.
    pub fn is_half_open(&self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => false,
            State::Open { until } => now >= until,
            State::HalfOpen { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Duration = Duration::from_secs(60);

    fn breaker() -> (Breaker, Instant) {
        (Breaker::new(BreakerPolicy { failures: 5, open: OPEN }), Instant::now())
    }

    fn opened() -> (Breaker, Instant) {
        let (mut breaker, now) = breaker();
        (0..5).for_each(|_| _ = breaker.fail(now));
        (breaker, now)
    }

    #[test]
    fn it_opens_at_the_fifth_failure_in_a_row() {
        let (mut breaker, now) = breaker();
        assert_eq!((0..5).map(|_| breaker.fail(now)).collect::<Vec<_>>(), [false, false, false, false, true]);
        assert_eq!(breaker.admit(now), Admission::Refused(OPEN));
        assert!(breaker.is_open() && !breaker.is_half_open(now));
        assert!(breaker.is_half_open(now + OPEN), "a probe is due");
    }

    #[test]
    fn a_success_starts_the_count_again() {
        let (mut breaker, now) = breaker();
        (0..4).for_each(|_| _ = breaker.fail(now));
        breaker.succeed();
        (0..4).for_each(|_| assert!(!breaker.fail(now)));
        assert_eq!(breaker.admit(now), Admission::Allowed);
    }

    #[test]
    fn one_probe_after_the_open_time() {
        let (mut breaker, now) = opened();
        let almost = now + OPEN - Duration::from_millis(1);
        assert_eq!(breaker.admit(almost), Admission::Refused(Duration::from_millis(1)));
        assert_eq!(breaker.admit(now + OPEN), Admission::Probe);
        assert!(matches!(breaker.admit(now + OPEN), Admission::Refused(_)), "one at a time");
    }

    #[test]
    fn the_probe_decides() {
        let (mut breaker, now) = opened();
        breaker.admit(now + OPEN);
        assert!(breaker.fail(now + OPEN), "a failed probe opens it again");
        assert_eq!(breaker.admit(now + OPEN), Admission::Refused(OPEN));
        assert_eq!(breaker.admit(now + OPEN * 2), Admission::Probe);
        breaker.succeed();
        assert!(!breaker.is_open());
        assert!(!breaker.fail(now), "and the count is back at its start");
    }

    #[test]
    fn a_probe_that_never_reports_is_given_up() {
        let (mut breaker, now) = opened();
        breaker.admit(now + OPEN);
        assert_eq!(breaker.admit(now + OPEN * 2), Admission::Probe);
    }

    #[test]
    fn a_late_result_does_not_close_an_open_breaker() {
        let (mut breaker, now) = opened();
        breaker.succeed();
        assert!(breaker.is_open());
        assert!(!breaker.fail(now + OPEN / 2), "nor does a late failure keep it open for longer");
        assert_eq!(breaker.admit(now + OPEN), Admission::Probe);
    }
}

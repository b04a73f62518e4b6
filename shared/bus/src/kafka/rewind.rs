//! Reading a partition again after work on it failed.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);

/// The growing pause between rewinds: what failed a moment ago will most likely fail again at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    pause: Duration,
    until: Option<Instant>,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { pause: FIRST, until: None }
    }

    /// Work failed at `now`: nothing is taken for a while.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.until = Some(now + self.pause);
        self.pause = (self.pause * 2).min(LONGEST);
    }

    /// Time left to wait at `now`.
    pub(crate) fn left(&self, now: Instant) -> Duration {
        self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// Work was done: the next failure starts over. `true` when there had been a failure.
    pub(crate) fn recovered(&mut self) -> bool {
        self.pause = FIRST;
        self.until.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_and_starts_over() {
        let now = Instant::now();
        let mut backoff = Backoff::new();
        backoff.failed(now);
        assert_eq!(backoff.left(now), FIRST);
        backoff.failed(now);
        assert_eq!(backoff.left(now), FIRST * 2);
        (0..20).for_each(|_| backoff.failed(now));
        assert_eq!(backoff.left(now), LONGEST);
        assert!(backoff.recovered());
        assert!(!backoff.recovered());
        assert_eq!(backoff.left(now), Duration::ZERO);
    }
}

//! Reading a partition again after work on it failed.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;

/// The growing pause between rewinds: what failed a moment ago will most likely fail again at once.
#[derive(Debug)]
pub(crate) struct RewindPause {
    backoff: Backoff,
    until: Option<Instant>,
}

impl RewindPause {
    pub(crate) fn new() -> Self {
        Self { backoff: Backoff::new(), until: None }
    }

    /// Work failed at `now`: nothing is read until the pause is over.
    pub(crate) fn failed(&mut self, now: Instant) {
        self.until = Some(now + self.backoff.next());
    }

    /// Rest of the pause at `now`.
    pub(crate) fn left(&self, now: Instant) -> Duration {
        self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }

    /// Work succeeded: the next failure starts with the shortest pause. Returns `true` if there had been a failure.
    pub(crate) fn recovered(&mut self) -> bool {
        self.backoff.reset();
        self.until.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_and_starts_over() {
        let first = Duration::from_millis(200);
        let now = Instant::now();
        let mut pause = RewindPause::new();
        pause.failed(now);
        assert_eq!(pause.left(now), first);
        pause.failed(now);
        assert_eq!(pause.left(now), first * 2);
        (0..20).for_each(|_| pause.failed(now));
        assert_eq!(pause.left(now), Duration::from_secs(5));
        assert!(pause.recovered());
        assert!(!pause.recovered());
        assert_eq!(pause.left(now), Duration::ZERO);
    }
}

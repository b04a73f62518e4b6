//! When a source of clients' records looks for the next ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longest time for which a source looks for nothing. It serves no rebalance meanwhile.
const LONGEST: Duration = Duration::from_millis(20);

/// A round with at least this many records is followed by the next one at once: the source has to catch up.
const CATCHING_UP: usize = 32;

/// The time before which records would wait in the stage anyway, as its work leaves at a limited rate. Until then the
/// source leaves them with the client, and takes them together: a record that is taken alone costs two threads a
/// wake-up. Clones share it; without a time the source never waits.
#[derive(Clone, Debug)]
pub struct IntakePace(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    start: Instant,
    /// In microseconds after `start`.
    due_us: AtomicU64,
}

impl Default for IntakePace {
    fn default() -> Self {
        Self(Arc::new(Shared { start: Instant::now(), due_us: AtomicU64::new(0) }))
    }
}

impl IntakePace {
    /// Records that are taken before `due` wait in the stage until then.
    pub fn due(&self, due: Instant) {
        let due_us = u64::try_from(due.saturating_duration_since(self.0.start).as_micros()).unwrap_or(0);
        self.0.due_us.store(due_us, Ordering::Relaxed);
    }

    /// How long to wait at `now`, after a round that took so many records. After one without any, the client itself waits
    /// for the next.
    pub(super) fn left(&self, now: Instant, taken: usize) -> Duration {
        let due = self.0.start + Duration::from_micros(self.0.due_us.load(Ordering::Relaxed));
        match taken {
            0 | CATCHING_UP.. => Duration::ZERO,
            _ => due.saturating_duration_since(now).min(LONGEST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_waits_until_work_is_due_unless_it_has_to_catch_up() {
        let pace = IntakePace::default();
        let now = Instant::now() + Duration::from_secs(1);
        assert_eq!(pace.left(now, 1), Duration::ZERO, "no time was given");
        pace.due(now + Duration::from_millis(4));
        assert!((Duration::from_micros(3_990)..=Duration::from_millis(4)).contains(&pace.left(now, 31)));
        assert_eq!([0, 32].map(|taken| pace.left(now, taken)), [Duration::ZERO; 2]);
        assert_eq!(pace.left(now + Duration::from_millis(4), 1), Duration::ZERO);
        pace.due(now + Duration::from_secs(9));
        assert_eq!(pace.left(now, 1), LONGEST);
    }
}

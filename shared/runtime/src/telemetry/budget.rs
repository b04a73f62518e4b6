//! A limit per second: a flood of bad requests must not become a flood of spans or log lines.

use std::sync::atomic::{AtomicU64, Ordering};

const COUNT: u64 = 0xFFFF;

/// Limits spans or log lines to a number per second. A race at the turn of a second may let one more or one fewer pass.
#[derive(Debug)]
pub struct Budget {
    per_second: u64,
    /// The last second in which one passed, and how many passed in it (low 16 bits).
    passed: AtomicU64,
}

impl Budget {
    /// A limit of `per_second`, which is at most 65,534.
    pub const fn new(per_second: u16) -> Self {
        let per_second = if per_second == u16::MAX { u16::MAX - 1 } else { per_second };
        Self { per_second: per_second as u64, passed: AtomicU64::new(0) }
    }

    /// Whether one more fits at `now_us` (Unix microseconds); if so it is counted.
    pub fn take(&self, now_us: u64) -> bool {
        let second = now_us / 1_000_000;
        let passed = self.passed.load(Ordering::Relaxed);
        let count = if passed >> 16 == second { passed & COUNT } else { 0 };
        if count < self.per_second {
            self.passed.store(second << 16 | (count + 1), Ordering::Relaxed);
        }
        count < self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_a_limit() {
        let budget = Budget::new(50);
        let taken = |at| (0..200).filter(|_| budget.take(at)).count();
        assert_eq!(taken(1_700_000_000_000_000), 50);
        assert_eq!(taken(1_700_000_000_999_999), 0);
        assert_eq!(taken(1_700_000_001_000_000), 50);
    }
}

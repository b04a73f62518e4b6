//! So many a second and no more: a flood of bad requests must not become a flood of spans or log lines.

use std::sync::atomic::{AtomicU64, Ordering};

const COUNT: u64 = 0xFFFF;

/// Counts what is told in a second. Exact enough: a race at the turn of a second tells one more or less.
#[derive(Debug)]
pub struct Budget {
    a_second: u64,
    /// The second of the last one, and how many there were in it (low 16 bits).
    told: AtomicU64,
}

impl Budget {
    /// At most `a_second`, which is at most 65,534.
    pub const fn new(a_second: u16) -> Self {
        Self { a_second: if a_second == u16::MAX { u16::MAX - 1 } else { a_second } as u64, told: AtomicU64::new(0) }
    }

    /// Whether one more fits at `now_us` (Unix microseconds); if so it is counted.
    pub fn take(&self, now_us: u64) -> bool {
        let second = now_us / 1_000_000;
        let told = self.told.load(Ordering::Relaxed);
        let count = if told >> 16 == second { told & COUNT } else { 0 };
        if count < self.a_second {
            self.told.store(second << 16 | (count + 1), Ordering::Relaxed);
        }
        count < self.a_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holds_so_many() {
        let budget = Budget::new(50);
        let taken = |at| (0..200).filter(|_| budget.take(at)).count();
        assert_eq!(taken(1_700_000_000_000_000), 50);
        assert_eq!(taken(1_700_000_000_999_999), 0);
        assert_eq!(taken(1_700_000_001_000_000), 50);
    }
}

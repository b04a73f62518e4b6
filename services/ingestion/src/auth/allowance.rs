//! How much one caller may still do: requests a second by a token bucket, rows a day by a counter. Each caller has its own,
//! so callers never wait for each other; both are single atomic values.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

const DAY_S: u64 = 86_400;
/// Bits of the counter that hold the rows; the others hold the day.
const ROWS_BITS: u32 = 40;
const ROWS_MASK: u64 = (1 << ROWS_BITS) - 1;

type Bucket = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<std::time::Instant>>;

/// The limits of a caller; 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    /// Requests a second, on average.
    pub rate: u32,
    /// Requests at once; 0 for one second's worth.
    pub burst: u32,
    /// Rows between midnights.
    pub daily_rows: u64,
}

/// What is left of them.
pub(super) struct Allowance {
    limits: Limits,
    bucket: Option<Bucket>,
    /// Day since 1970 and the rows taken in it.
    used: AtomicU64,
}

impl Allowance {
    /// All of it.
    pub(super) fn new(limits: Limits) -> Self {
        let rate = NonZeroU32::new(limits.rate);
        let bucket = rate.map(|rate| {
            let burst = NonZeroU32::new(limits.burst).unwrap_or(rate);
            RateLimiter::direct_with_clock(Quota::per_second(rate).allow_burst(burst), MonotonicClock)
        });
        Self { limits, bucket, used: AtomicU64::new(0) }
    }

    /// Other limits, with the rows of the day as they were.
    pub(super) fn with(&self, limits: Limits) -> Self {
        let new = Self::new(limits);
        new.used.store(self.used.load(Ordering::Relaxed), Ordering::Relaxed);
        new
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// Takes one request.
    ///
    /// # Errors
    /// How long to wait for the next one.
    pub(super) fn request(&self) -> Result<(), Duration> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        bucket.check().map_err(|not_until| not_until.wait_time_from(MonotonicClock.now()))
    }

    /// Takes rows of the day; either all of them or none.
    ///
    /// # Errors
    /// How long to wait for the next day.
    pub(super) fn rows(&self, rows: usize, now_s: u64) -> Result<(), Duration> {
        if self.limits.daily_rows == 0 {
            return Ok(());
        }
        let (today, rows) = (now_s / DAY_S, u64::try_from(rows).unwrap_or(u64::MAX));
        let more = |packed: u64| {
            let used = if packed >> ROWS_BITS == today { packed & ROWS_MASK } else { 0 };
            let used = used.checked_add(rows).filter(|used| *used <= self.limits.daily_rows.min(ROWS_MASK))?;
            Some(today << ROWS_BITS | used)
        };
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.map(drop).map_err(|_| Duration::from_secs(DAY_S - now_s % DAY_S))
    }
}

impl std::fmt::Debug for Allowance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.limits.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_a_burst_through_and_then_says_when() {
        let allowance = Allowance::new(Limits { rate: 1, burst: 3, daily_rows: 0 });
        assert!((0..3).all(|_| allowance.request().is_ok()));
        let wait = allowance.request().unwrap_err();
        assert!(wait > Duration::from_millis(500) && wait <= Duration::from_secs(1), "{wait:?}");
        let free = Allowance::new(Limits::default());
        assert!((0..10_000).all(|_| free.request().is_ok()));
    }

    #[test]
    fn rows_of_a_day_are_counted_until_midnight() {
        let allowance = Allowance::new(Limits { daily_rows: 10, ..Limits::default() });
        let noon = 20_000 * DAY_S + DAY_S / 2;
        assert_eq!(allowance.rows(6, noon), Ok(()));
        assert_eq!(allowance.rows(5, noon + 1), Err(Duration::from_secs(DAY_S / 2 - 1)), "all of them or none");
        assert_eq!(allowance.rows(4, noon + 1), Ok(()));
        assert!(allowance.rows(1, noon + DAY_S / 2 - 1).is_err());
        let changed = allowance.with(Limits { daily_rows: 12, ..Limits::default() });
        assert_eq!(changed.rows(2, noon), Ok(()), "used rows stay used under another limit");
        assert!(changed.rows(1, noon).is_err());
        assert_eq!(allowance.rows(10, noon + DAY_S / 2), Ok(()), "a new day");
        assert!(allowance.rows(usize::MAX, noon + DAY_S).is_err(), "no overflow");
    }
}

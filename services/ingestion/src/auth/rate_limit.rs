//! The limits of one caller: requests per second by a token bucket, rows per day by a counter. Both are single atomic
//! values of that caller, so callers never contend.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

const DAY_S: u64 = 86_400;
/// Bits of the counter that hold the rows; the other bits hold the day.
const ROWS_BITS: u32 = 40;
const ROWS_MASK: u64 = (1 << ROWS_BITS) - 1;

type Bucket = RateLimiter<NotKeyed, InMemoryState, MonotonicClock, NoOpMiddleware<std::time::Instant>>;

/// The limits of a caller; 0 means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CallerLimits {
    /// Average requests per second.
    pub rate: u32,
    /// Requests in a burst; 0 for one second's worth.
    pub burst: u32,
    /// Rows per day (UTC).
    pub daily_rows: u64,
}

/// The limits of a caller and what it has used of them.
pub(super) struct CallerRateLimit {
    limits: CallerLimits,
    bucket: Option<Bucket>,
    /// Days since 1970 and the rows used on that day.
    used: AtomicU64,
}

impl CallerRateLimit {
    /// Nothing used yet.
    pub(super) fn new(limits: CallerLimits) -> Self {
        let rate = NonZeroU32::new(limits.rate);
        let bucket = rate.map(|rate| {
            let burst = NonZeroU32::new(limits.burst).unwrap_or(rate);
            RateLimiter::direct_with_clock(Quota::per_second(rate).allow_burst(burst), MonotonicClock)
        });
        Self { limits, bucket, used: AtomicU64::new(0) }
    }

    /// The same use of daily rows under other limits.
    pub(super) fn with(&self, limits: CallerLimits) -> Self {
        let new = Self::new(limits);
        new.used.store(self.used.load(Ordering::Relaxed), Ordering::Relaxed);
        new
    }

    pub(super) fn limits(&self) -> CallerLimits {
        self.limits
    }

    /// Counts one request.
    ///
    /// # Errors
    /// How long to wait for the next request.
    pub(super) fn request(&self) -> Result<(), Duration> {
        let Some(bucket) = &self.bucket else { return Ok(()) };
        bucket.check().map_err(|not_until| not_until.wait_time_from(MonotonicClock.now()))
    }

    /// Counts rows of the day, either all or none.
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

impl std::fmt::Debug for CallerRateLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.limits.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_allows_a_burst_and_then_says_how_long_to_wait() {
        let rate_limit = CallerRateLimit::new(CallerLimits { rate: 1, burst: 3, daily_rows: 0 });
        assert!((0..3).all(|_| rate_limit.request().is_ok()));
        let wait = rate_limit.request().unwrap_err();
        assert!(wait > Duration::from_millis(500) && wait <= Duration::from_secs(1), "{wait:?}");
        let free = CallerRateLimit::new(CallerLimits::default());
        assert!((0..10_000).all(|_| free.request().is_ok()));
    }

    #[test]
    fn rows_of_a_day_are_counted_until_midnight() {
        let rate_limit = CallerRateLimit::new(CallerLimits { daily_rows: 10, ..CallerLimits::default() });
        let noon = 20_000 * DAY_S + DAY_S / 2;
        assert_eq!(rate_limit.rows(6, noon), Ok(()));
        assert_eq!(rate_limit.rows(5, noon + 1), Err(Duration::from_secs(DAY_S / 2 - 1)), "all or none");
        assert_eq!(rate_limit.rows(4, noon + 1), Ok(()));
        assert!(rate_limit.rows(1, noon + DAY_S / 2 - 1).is_err());
        let changed = rate_limit.with(CallerLimits { daily_rows: 12, ..CallerLimits::default() });
        assert_eq!(changed.rows(2, noon), Ok(()), "used rows stay used under another limit");
        assert!(changed.rows(1, noon).is_err());
        assert_eq!(rate_limit.rows(10, noon + DAY_S / 2), Ok(()), "a new day");
        assert!(rate_limit.rows(usize::MAX, noon + DAY_S).is_err(), "no overflow");
    }
}

//! Delays between retries: they double up to a maximum and start over after a success. Retries have no limit.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// Between attempts to reach a broker again, or to do work again that failed.
const RETRY: ExponentialBuilder = delays(Duration::from_millis(200), LONGEST);
const LONGEST: Duration = Duration::from_secs(5);

/// Between attempts to produce one record.
const RESEND: ExponentialBuilder = delays(Duration::from_millis(50), LONGEST_RESEND);
const LONGEST_RESEND: Duration = Duration::from_secs(2);

const fn delays(first: Duration, longest: Duration) -> ExponentialBuilder {
    ExponentialBuilder::new().with_factor(2.0).with_min_delay(first).with_max_delay(longest).without_max_times()
}

/// The delays of something that is retried until it succeeds: 200 ms, 400 ms, ... 5 s.
#[derive(Debug)]
pub(crate) struct Backoff(ExponentialBackoff);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(RETRY.build())
    }

    /// How long to wait before the next attempt.
    pub(crate) fn next(&mut self) -> Duration {
        self.0.next().map_or(LONGEST, whole_ms)
    }

    /// An attempt succeeded: the next failure starts with the shortest delay.
    pub(crate) fn reset(&mut self) {
        *self = Self::new();
    }
}

/// How long to wait before a record is produced again after `attempts` earlier resends: 50 ms, 100 ms, ... 2 s. A
/// function of the count, so that records that are delivered at once carry no state for this.
pub(crate) fn resend_delay(attempts: u32) -> Duration {
    RESEND.build().nth(attempts.min(16) as usize).map_or(LONGEST_RESEND, whole_ms)
}

/// The builder multiplies as `f32`, which adds some nanoseconds.
fn whole_ms(delay: Duration) -> Duration {
    Duration::from_millis((delay.as_secs_f64() * 1e3).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_to_a_bound_and_starts_over() {
        let mut backoff = Backoff::new();
        let all: Vec<_> = (0..7).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(all, [200, 400, 800, 1600, 3200, 5000, 5000]);
        backoff.reset();
        assert_eq!(backoff.next(), Duration::from_millis(200));
    }

    #[test]
    fn a_record_is_resent_ever_more_rarely() {
        let all: Vec<_> = (0..8).map(|attempts| resend_delay(attempts).as_millis()).collect();
        assert_eq!(all, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(resend_delay(u32::MAX), LONGEST_RESEND);
    }
}

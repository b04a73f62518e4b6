//! How long requests wait for an equal one in flight: twice the 99th percentile of recent predictions, within bounds.

use std::time::Duration;

/// Predictions that the percentile is taken of.
const SAMPLES: usize = 1024;
/// Predictions between two computations of the timeout.
const UPDATE_EVERY: usize = 64;
/// Shorter timeouts would measure the scheduler, not the model.
const MIN: Duration = Duration::from_millis(5);

/// A timeout that follows the times of recent predictions.
#[derive(Debug)]
pub(crate) struct AdaptiveTimeout {
    /// The last [`SAMPLES`] times in microseconds; a ring once it is full.
    times_us: Vec<u32>,
    /// Position in `times_us` that the next time is written to.
    next: usize,
    /// Times recorded since `current` was computed.
    since_update: usize,
    current: Duration,
    max: Duration,
}

impl AdaptiveTimeout {
    /// Starts with `max`, which is also the upper bound.
    pub(crate) fn new(max: Duration) -> Self {
        Self { times_us: Vec::with_capacity(SAMPLES), next: 0, since_update: 0, current: max, max }
    }

    /// The timeout for a request that starts to wait now.
    pub(crate) fn current(&self) -> Duration {
        self.current
    }

    /// The upper bound.
    pub(crate) fn max(&self) -> Duration {
        self.max
    }

    /// Records how long a prediction took; one that never came counts as [`AdaptiveTimeout::max`].
    pub(crate) fn record(&mut self, time: Duration) {
        let time_us = u32::try_from(time.min(self.max).as_micros()).unwrap_or(u32::MAX);
        if self.times_us.len() < SAMPLES {
            self.times_us.push(time_us);
        } else if let Some(slot) = self.times_us.get_mut(self.next) {
            *slot = time_us;
        }
        self.next = (self.next + 1) % SAMPLES;
        self.since_update += 1;
        if self.since_update >= UPDATE_EVERY {
            self.since_update = 0;
            self.update();
        }
    }

    fn update(&mut self) {
        let mut sorted = self.times_us.clone();
        let rank = (sorted.len() * 99 / 100).min(sorted.len() - 1);
        let (_, p99, _) = sorted.select_nth_unstable(rank);
        self.current = (Duration::from_micros(u64::from(*p99)) * 2).clamp(MIN.min(self.max), self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_millis(250);

    fn after(times: impl IntoIterator<Item = u64>) -> Duration {
        let mut timeout = AdaptiveTimeout::new(MAX);
        times.into_iter().for_each(|ms| timeout.record(Duration::from_millis(ms)));
        timeout.current()
    }

    #[test]
    fn twice_the_99th_percentile_within_bounds() {
        assert_eq!(after([]), MAX);
        assert_eq!(after([20; 1024]), Duration::from_millis(40));
        assert_eq!(after([1; 1024]), MIN);
        assert_eq!(after([10_000; 64]), MAX);
        assert_eq!(after((0..1000).map(|n| if n % 50 == 0 { 60 } else { 10 })), Duration::from_millis(120));
    }

    #[test]
    fn old_times_are_forgotten() {
        assert_eq!(after([200; 1024].into_iter().chain([20; 1024])), Duration::from_millis(40));
    }
}

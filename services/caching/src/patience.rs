//! How long a waiter waits: twice the 99th percentile of the last inferences, within bounds.

use std::time::Duration;

const KEPT: usize = 1024;
const EVERY: usize = 64;
/// Shorter waits would be decided by the scheduler, not by the model.
const LEAST: Duration = Duration::from_millis(5);

/// A sliding window of inference times.
#[derive(Debug)]
pub(crate) struct Patience {
    times_us: Vec<u32>,
    next: usize,
    since: usize,
    wait: Duration,
    most: Duration,
}

impl Patience {
    /// Waits `most` until there is experience.
    pub(crate) fn new(most: Duration) -> Self {
        Self { times_us: Vec::with_capacity(KEPT), next: 0, since: 0, wait: most, most }
    }

    /// How long a waiter that comes now waits.
    pub(crate) fn wait(&self) -> Duration {
        self.wait
    }

    /// The longest wait there is.
    pub(crate) fn most(&self) -> Duration {
        self.most
    }

    /// An inference took `time`; one that never came counts as the longest wait.
    pub(crate) fn learn(&mut self, time: Duration) {
        let time_us = u32::try_from(time.min(self.most).as_micros()).unwrap_or(u32::MAX);
        if self.times_us.len() < KEPT {
            self.times_us.push(time_us);
        } else if let Some(slot) = self.times_us.get_mut(self.next) {
            *slot = time_us;
        }
        self.next = (self.next + 1) % KEPT;
        self.since += 1;
        if self.since >= EVERY {
            self.since = 0;
            self.settle();
        }
    }

    fn settle(&mut self) {
        let mut sorted = self.times_us.clone();
        let rank = (sorted.len() * 99 / 100).min(sorted.len() - 1);
        let (_, p99, _) = sorted.select_nth_unstable(rank);
        self.wait = (Duration::from_micros(u64::from(*p99)) * 2).clamp(LEAST.min(self.most), self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_millis(250);

    fn after(times: impl IntoIterator<Item = u64>) -> Duration {
        let mut patience = Patience::new(MOST);
        times.into_iter().for_each(|ms| patience.learn(Duration::from_millis(ms)));
        patience.wait()
    }

    #[test]
    fn twice_the_99th_percentile_within_bounds() {
        assert_eq!(after([]), MOST);
        assert_eq!(after([20; 1024]), Duration::from_millis(40));
        assert_eq!(after([1; 1024]), LEAST);
        assert_eq!(after([10_000; 64]), MOST);
        assert_eq!(after((0..1000).map(|n| if n % 50 == 0 { 60 } else { 10 })), Duration::from_millis(120));
    }

    #[test]
    fn old_times_are_forgotten() {
        assert_eq!(after([200; 1024].into_iter().chain([20; 1024])), Duration::from_millis(40));
    }
}

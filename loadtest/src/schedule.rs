//! The open-loop schedule: when each request is due, whatever the system under test does.

use std::time::{Duration, Instant};

/// Request `i` is due at `start + i / rate`. Latency counts from there, or a system that stops would stop being
/// measured (coordinated omission).
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    start: Instant,
    rate: f64,
    count: u64,
    warmup: u64,
}

impl Schedule {
    /// `rate` per second for `warmup + measured`, starting at `start`; the requests of the warm-up are sent but not
    /// measured.
    #[must_use]
    pub fn new(start: Instant, rate: f64, warmup: Duration, measured: Duration) -> Self {
        let skip = (rate * warmup.as_secs_f64()).round() as u64;
        let count = (rate * (warmup + measured).as_secs_f64()).round() as u64;
        Self { start, rate, count, warmup: skip }
    }

    /// Requests in all, warm-up included.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// How many of them, from the first on, are warm-up.
    #[must_use]
    pub fn warmup(&self) -> u64 {
        self.warmup
    }

    /// The instant of request 0.
    #[must_use]
    pub fn start(&self) -> Instant {
        self.start
    }

    /// When request `index` is due.
    #[must_use]
    pub fn due(&self, index: u64) -> Instant {
        self.start + Duration::from_secs_f64(index as f64 / self.rate)
    }

    /// How many requests are due at `now`: 0 before the start, never more than `count`.
    #[must_use]
    pub fn due_count(&self, now: Instant) -> u64 {
        match now.checked_duration_since(self.start) {
            None => 0,
            Some(elapsed) => ((elapsed.as_secs_f64() * self.rate) as u64 + 1).min(self.count),
        }
    }

    /// Calls `send(index, lateness)` for every request at its time, from this thread, catching up in one go when it
    /// woke late. Returns when all are sent or `send` says stop with an error.
    pub fn run<E>(&self, mut send: impl FnMut(u64, Duration) -> Result<(), E>) -> Result<(), E> {
        let mut next = 0;
        while next < self.count {
            let due = self.due(next);
            let now = Instant::now();
            if let Some(early) = due.checked_duration_since(now).filter(|early| !early.is_zero()) {
                // An operating-system sleep is late by some 0.1 ms; a timer wheel would be by 1-2 ms.
                std::thread::sleep(early);
                continue;
            }
            send(next, now - due)?;
            next += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_even_distances() {
        let start = Instant::now();
        let schedule = Schedule::new(start, 200.0, Duration::from_secs(3), Duration::from_secs(10));
        assert_eq!((schedule.count(), schedule.warmup()), (2600, 600));
        assert_eq!(schedule.due(0), start);
        assert_eq!(schedule.due(200) - start, Duration::from_secs(1));
        assert_eq!(schedule.due_count(start + Duration::from_millis(12)), 3);
        assert_eq!(schedule.due_count(start + Duration::from_secs(100)), 2600);
    }

    #[test]
    fn a_stall_is_caught_up_and_shows_as_lateness() {
        let schedule = Schedule::new(Instant::now(), 1000.0, Duration::ZERO, Duration::from_millis(200));
        let mut late = Vec::new();
        let done: Result<(), ()> = schedule.run(|index, lateness| {
            late.push(lateness);
            if index == 50 {
                std::thread::sleep(Duration::from_millis(60));
            }
            Ok(())
        });
        assert!(done.is_ok());
        assert_eq!(late.len(), 200);
        assert!(late[51] >= Duration::from_millis(50), "the request after the stall was {:?} late", late[51]);
        let caught_up = late[100..].iter().min().unwrap();
        assert!(*caught_up < Duration::from_millis(50), "not caught up: {caught_up:?}");
    }
}

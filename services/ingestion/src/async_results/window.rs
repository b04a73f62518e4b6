//! How many requests that are answered later a replica accepts.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::rejection::HttpRejection;

/// Counts the requests of the last `ttl`, whose answers are kept.
#[derive(Debug)]
pub(super) struct SubmissionWindow {
    ttl: Duration,
    limit: usize,
    accepted: VecDeque<Instant>,
}

impl SubmissionWindow {
    pub(super) fn new(ttl: Duration, limit: usize) -> Self {
        Self { ttl, limit, accepted: VecDeque::new() }
    }

    /// Counts one more request.
    ///
    /// # Errors
    /// `overloaded`, with the time until the oldest one is forgotten.
    pub(super) fn enter(&mut self, now: Instant) -> Result<(), HttpRejection> {
        let is_old = |at: &Instant| now.duration_since(*at) >= self.ttl;
        while self.accepted.pop_front_if(|at| is_old(at)).is_some() {}
        if self.accepted.len() >= self.limit {
            let text = format!("too many results are kept (limit {}, async.max_requests)", self.limit);
            let oldest = self.accepted.front().map_or(Duration::ZERO, |at| now.duration_since(*at));
            return Err(HttpRejection::limit_exceeded(text, self.ttl.saturating_sub(oldest)));
        }
        self.accepted.push_back(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_requests_make_room_and_the_wait_for_it_is_known() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut window = SubmissionWindow::new(10 * second, 2);
        window.enter(start).unwrap();
        window.enter(start + 4 * second).unwrap();
        let refused = window.enter(start + 5 * second).unwrap_err();
        assert_eq!(refused.retry_after, Some(5 * second));
        window.enter(start + 10 * second).unwrap();
        assert!(window.enter(start + 10 * second).is_err());
    }
}

//! How many requests that are answered later a replica accepts.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::rejection::HttpRejection;

/// One caller with credentials may have this share of them.
const SHARE: usize = 4;

/// Counts the requests of the last `ttl`, whose answers are kept.
#[derive(Debug)]
pub(super) struct SubmissionWindow {
    ttl: Duration,
    limit: usize,
    /// Oldest first, each with its owner.
    accepted: VecDeque<(Instant, u64)>,
    owners: FxHashMap<u64, usize>,
}

impl SubmissionWindow {
    pub(super) fn new(ttl: Duration, limit: usize) -> Self {
        Self { ttl, limit, accepted: VecDeque::new(), owners: FxHashMap::default() }
    }

    /// Counts one more request of `owner`; 0 for callers without credentials, who share the whole.
    ///
    /// # Errors
    /// `overloaded`, with the time until the oldest one is forgotten.
    pub(super) fn enter(&mut self, owner: u64, now: Instant) -> Result<(), HttpRejection> {
        let is_old = |(at, _): &(Instant, u64)| now.duration_since(*at) >= self.ttl;
        while let Some((_, owner)) = self.accepted.pop_front_if(|entry| is_old(entry)) {
            Self::less(&mut self.owners, owner);
        }
        let share = if owner == 0 { self.limit } else { self.limit.div_ceil(SHARE) };
        let own = self.owners.get(&owner).copied().unwrap_or_default();
        if self.accepted.len() >= self.limit || own >= share {
            let (limit, whose) = if own >= share { (share, "of this caller ") } else { (self.limit, "") };
            let text = format!("too many results {whose}are kept (limit {limit}, async.max_requests)");
            let oldest = self.accepted.front().map_or(Duration::ZERO, |(at, _)| now.duration_since(*at));
            return Err(HttpRejection::limit_exceeded(text, self.ttl.saturating_sub(oldest)));
        }
        self.accepted.push_back((now, owner));
        *self.owners.entry(owner).or_default() += 1;
        Ok(())
    }

    /// Takes back the last request of `owner`, which was not accepted after all.
    pub(super) fn leave(&mut self, owner: u64) {
        if let Some(last) = self.accepted.iter().rposition(|(_, known)| *known == owner) {
            self.accepted.remove(last);
            Self::less(&mut self.owners, owner);
        }
    }

    fn less(owners: &mut FxHashMap<u64, usize>, owner: u64) {
        if let Some(count) = owners.get_mut(&owner) {
            *count -= 1;
            if *count == 0 {
                owners.remove(&owner);
            }
        }
    }
}

/// A place in the window, given back when it is dropped unless it is kept.
#[derive(Debug)]
pub(crate) struct Reservation {
    owner: u64,
    window: Option<Arc<Mutex<SubmissionWindow>>>,
}

impl Reservation {
    /// Takes a place, as [`SubmissionWindow::enter`].
    pub(super) fn new(window: &Arc<Mutex<SubmissionWindow>>, owner: u64, now: Instant) -> Result<Self, HttpRejection> {
        window.lock().enter(owner, now)?;
        Ok(Self { owner, window: Some(Arc::clone(window)) })
    }

    /// The request is accepted.
    pub(super) fn keep(mut self) {
        self.window = None;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(window) = self.window.take() {
            window.lock().leave(self.owner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn old_requests_make_room_and_the_wait_for_it_is_known() {
        let start = Instant::now();
        let mut window = SubmissionWindow::new(10 * SECOND, 2);
        window.enter(0, start).unwrap();
        window.enter(0, start + 4 * SECOND).unwrap();
        let refused = window.enter(0, start + 5 * SECOND).unwrap_err();
        assert_eq!(refused.retry_after, Some(5 * SECOND));
        window.enter(0, start + 10 * SECOND).unwrap();
        assert!(window.enter(0, start + 10 * SECOND).is_err());
        window.leave(0);
        window.enter(0, start + 10 * SECOND).unwrap();
    }

    #[test]
    fn one_caller_has_a_share_and_others_have_theirs() {
        let start = Instant::now();
        let mut window = SubmissionWindow::new(10 * SECOND, 8);
        (0..2).for_each(|_| window.enter(1, start).unwrap());
        assert!(window.enter(1, start).unwrap_err().problem.message.contains("of this caller"));
        window.enter(2, start).unwrap();
        window.leave(1);
        window.enter(1, start).unwrap();
        window.enter(1, start + 10 * SECOND).unwrap();
        assert_eq!(window.owners.values().sum::<usize>(), window.accepted.len());
    }
}

//! Single-flight: of equal requests in flight the first, the leader, is sent to prediction; the others, its followers,
//! wait for that answer. Plain state with the clock passed in; what a waiter is, is up to the caller.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use forebay_contract::CacheKey;
use rustc_hash::FxHashMap;

/// The keys in flight and the requests that wait for each.
#[derive(Debug)]
pub(crate) struct SingleFlight<W> {
    flights: FxHashMap<CacheKey, Flight>,
    /// By the id in a flight's queue.
    waiters: FxHashMap<u64, W>,
    /// When waiters time out, soonest first. The ids of waiters that have left are skipped.
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    /// Flights by age, oldest first, so that one whose answer never comes is dropped.
    opened: VecDeque<(Instant, CacheKey)>,
    next_id: u64,
    max_waiters: usize,
    /// Age at which a flight without waiters is dropped.
    max_age: Duration,
}

#[derive(Debug)]
struct Flight {
    opened: Instant,
    /// When the present leader was sent. A request that arrives too long after it becomes a leader, too.
    led: Instant,
    failures: u32,
    /// Ids of the waiters in their order of arrival; those that have left stay in the queue.
    queue: VecDeque<u64>,
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It goes to prediction, and others wait for its answer.
    Leader,
    /// It waits for the leader's answer: call [`SingleFlight::wait`].
    Follower,
    /// It goes to prediction because there are too many waiters already.
    Overflow,
}

/// A flight whose answer has arrived.
#[derive(Debug)]
pub(crate) struct Completed<W> {
    /// In their order of arrival.
    pub(crate) waiters: Vec<W>,
    /// Time since the flight was opened.
    pub(crate) took: Duration,
}

impl<W> SingleFlight<W> {
    /// Allows `max_waiters` waiters in total. Flights without waiters are dropped at `max_age`.
    pub(crate) fn new(max_waiters: usize, max_age: Duration) -> Self {
        let (flights, waiters) = (FxHashMap::default(), FxHashMap::default());
        let (due, opened) = (BinaryHeap::new(), VecDeque::new());
        Self { flights, waiters, due, opened, next_id: 0, max_waiters, max_age }
    }

    /// Decides what a request for `key` does. A leader that was sent more than `timeout` ago gets no more followers.
    pub(crate) fn join(&mut self, key: CacheKey, now: Instant, timeout: Duration) -> Role {
        match self.flights.get_mut(&key) {
            None => {
                self.flights.insert(key, Flight { opened: now, led: now, failures: 0, queue: VecDeque::new() });
                self.opened.push_back((now, key));
                Role::Leader
            }
            Some(flight) if now.saturating_duration_since(flight.led) > timeout => {
                flight.led = now;
                Role::Leader
            }
            Some(_) if self.waiters.len() >= self.max_waiters => Role::Overflow,
            Some(_) => Role::Follower,
        }
    }

    /// Adds a waiter for the answer to `key`, which times out at `until`. Returns the waiter if `key` is not in flight.
    pub(crate) fn wait(&mut self, key: CacheKey, until: Instant, waiter: W) -> Result<(), W> {
        let Some(flight) = self.flights.get_mut(&key) else {
            return Err(waiter);
        };
        let id = self.next_id;
        self.next_id += 1;
        flight.queue.push_back(id);
        self.due.push(Reverse((until, id)));
        self.waiters.insert(id, waiter);
        Ok(())
    }

    /// Ends the flight of `key`, whose answer has arrived. `None` if `key` is not in flight, or no longer.
    pub(crate) fn complete(&mut self, key: &CacheKey, now: Instant) -> Option<Completed<W>> {
        let flight = self.flights.remove(key)?;
        let took = now.saturating_duration_since(flight.opened);
        Some(Completed { waiters: self.take(flight.queue), took })
    }

    /// The leader of `key` failed: returns the next waiter, which becomes the leader. After a second failure in a row
    /// it returns all waiters, because one more round trip for each of them would cost more than it saves.
    pub(crate) fn fail(&mut self, key: &CacheKey, now: Instant) -> Vec<W> {
        let Some(mut flight) = self.flights.remove(key) else {
            return Vec::new();
        };
        flight.failures += 1;
        if flight.failures > 1 {
            return self.take(flight.queue);
        }
        while let Some(id) = flight.queue.pop_front() {
            if let Some(waiter) = self.waiters.remove(&id) {
                flight.opened = now;
                flight.led = now;
                self.opened.push_back((now, *key));
                self.flights.insert(*key, flight);
                return vec![waiter];
            }
        }
        Vec::new()
    }

    /// Removes the waiters that have timed out.
    pub(crate) fn take_timed_out(&mut self, now: Instant) -> Vec<W> {
        let mut timed_out = Vec::new();
        while let Some(Reverse((until, id))) = self.due.peek().copied() {
            if until > now {
                break;
            }
            self.due.pop();
            timed_out.extend(self.waiters.remove(&id));
        }
        timed_out
    }

    /// Drops old flights without waiters and returns how many.
    pub(crate) fn drop_unanswered(&mut self, now: Instant) -> usize {
        let mut dropped = 0;
        while let Some((opened, key)) = self.opened.front().copied() {
            if now.saturating_duration_since(opened) < self.max_age {
                break;
            }
            self.opened.pop_front();
            let Some(flight) = self.flights.get(&key).filter(|flight| flight.opened == opened) else {
                continue; // answered, or opened again since
            };
            if flight.queue.iter().any(|id| self.waiters.contains_key(id)) {
                self.opened.push_back((now, key));
                if let Some(flight) = self.flights.get_mut(&key) {
                    flight.opened = now;
                }
                continue;
            }
            self.flights.remove(&key);
            dropped += 1;
        }
        dropped
    }

    /// Removes all waiters, in their order of arrival, and all flights: the answers will go to another replica.
    pub(crate) fn release_all(&mut self) -> Vec<W> {
        self.flights.clear();
        self.opened.clear();
        self.due.clear();
        let mut all: Vec<(u64, W)> = self.waiters.drain().collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all.into_iter().map(|(_, waiter)| waiter).collect()
    }

    /// When [`SingleFlight::take_timed_out`] or [`SingleFlight::drop_unanswered`] next has something to do.
    pub(crate) fn next_due(&mut self) -> Option<Instant> {
        while let Some(Reverse((_, id))) = self.due.peek() {
            if self.waiters.contains_key(id) {
                break;
            }
            self.due.pop();
        }
        let waiter = self.due.peek().map(|Reverse((until, _))| *until);
        let flight = self.opened.front().map(|(opened, _)| *opened + self.max_age);
        [waiter, flight].into_iter().flatten().min()
    }

    /// Number of waiters.
    pub(crate) fn waiting(&self) -> usize {
        self.waiters.len()
    }

    fn take(&mut self, queue: VecDeque<u64>) -> Vec<W> {
        queue.into_iter().filter_map(|id| self.waiters.remove(&id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(50);
    const MAX_AGE: Duration = Duration::from_millis(250);

    fn key(n: u8) -> CacheKey {
        CacheKey([n; 32])
    }

    struct Fixture {
        flights: SingleFlight<u32>,
        start: Instant,
    }

    impl Fixture {
        fn new(max_waiters: usize) -> Self {
            Self { flights: SingleFlight::new(max_waiters, MAX_AGE), start: Instant::now() }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn join(&mut self, n: u8, who: u32, ms: u64) -> Role {
            let role = self.flights.join(key(n), self.at(ms), TIMEOUT);
            if role == Role::Follower {
                self.flights.wait(key(n), self.at(ms) + TIMEOUT, who).unwrap();
            }
            role
        }
    }

    #[test]
    fn a_hundred_equal_requests_have_one_leader() {
        let mut fixture = Fixture::new(1000);
        let roles: Vec<Role> = (0..100).map(|who| fixture.join(1, who, 0)).collect();
        assert_eq!(roles.iter().filter(|role| **role == Role::Leader).count(), 1);
        assert_eq!(fixture.join(2, 500, 0), Role::Leader);
        let done = fixture.flights.complete(&key(1), fixture.at(7)).unwrap();
        assert_eq!(done.waiters, (1..100).collect::<Vec<_>>());
        assert_eq!(done.took, Duration::from_millis(7));
        assert_eq!(fixture.flights.waiting(), 0);
        assert!(fixture.flights.complete(&key(1), fixture.at(8)).is_none());
    }

    #[test]
    fn beyond_the_limit_a_request_does_not_wait() {
        let mut fixture = Fixture::new(1);
        assert_eq!([0, 1, 2].map(|who| fixture.join(1, who, 0)), [Role::Leader, Role::Follower, Role::Overflow]);
    }

    #[test]
    fn a_failure_promotes_one_and_a_second_releases_all() {
        let mut fixture = Fixture::new(100);
        (0..5).for_each(|who| _ = fixture.join(1, who, 0));
        assert_eq!(fixture.flights.fail(&key(1), fixture.at(1)), [1]);
        assert_eq!(fixture.join(1, 9, 2), Role::Follower);
        assert_eq!(fixture.flights.fail(&key(1), fixture.at(3)), [2, 3, 4, 9]);
        assert_eq!(fixture.join(1, 10, 4), Role::Leader);
    }

    #[test]
    fn a_promoted_waiter_can_still_serve_the_others() {
        let mut fixture = Fixture::new(100);
        (0..4).for_each(|who| _ = fixture.join(1, who, 0));
        fixture.flights.fail(&key(1), fixture.at(1));
        assert_eq!(fixture.flights.complete(&key(1), fixture.at(9)).unwrap().waiters, [2, 3]);
    }

    #[test]
    fn a_failure_without_waiters_ends_the_flight() {
        let mut fixture = Fixture::new(100);
        fixture.join(1, 0, 0);
        assert!(fixture.flights.fail(&key(1), fixture.at(1)).is_empty());
        assert_eq!(fixture.join(1, 1, 2), Role::Leader);
    }

    #[test]
    fn waiters_time_out_and_only_those() {
        let mut fixture = Fixture::new(100);
        fixture.join(1, 0, 0);
        fixture.join(1, 1, 0);
        fixture.join(1, 2, 20);
        assert_eq!(fixture.flights.next_due(), Some(fixture.at(50)));
        assert!(fixture.flights.take_timed_out(fixture.at(49)).is_empty());
        assert_eq!(fixture.flights.take_timed_out(fixture.at(50)), [1]);
        assert_eq!(fixture.flights.complete(&key(1), fixture.at(60)).unwrap().waiters, [2]);
        assert!(fixture.flights.take_timed_out(fixture.at(1000)).is_empty());
    }

    #[test]
    fn a_late_request_does_not_wait_for_a_lost_leader() {
        let mut fixture = Fixture::new(100);
        fixture.join(1, 0, 0);
        assert_eq!(fixture.join(1, 1, 51), Role::Leader);
        assert_eq!(fixture.join(1, 2, 60), Role::Follower);
        let done = fixture.flights.complete(&key(1), fixture.at(70)).unwrap();
        assert_eq!(done.took, Duration::from_millis(70), "since the first request");
    }

    #[test]
    fn unanswered_flights_are_dropped() {
        let mut fixture = Fixture::new(100);
        (0..10).for_each(|n| _ = fixture.join(n, 0, u64::from(n)));
        fixture.flights.complete(&key(0), fixture.at(20));
        assert_eq!(fixture.flights.drop_unanswered(fixture.at(255)), 5);
        assert_eq!(fixture.flights.drop_unanswered(fixture.at(1000)), 4);
        assert_eq!(fixture.flights.next_due(), None);
    }

    #[test]
    fn a_flight_with_waiters_is_kept() {
        let mut fixture = Fixture::new(100);
        fixture.join(1, 0, 0);
        let late = fixture.at(900);
        fixture.flights.wait(key(1), late, 1).unwrap();
        assert_eq!(fixture.flights.drop_unanswered(fixture.at(300)), 0);
        assert_eq!(fixture.flights.complete(&key(1), fixture.at(301)).unwrap().waiters, [1]);
        assert_eq!(fixture.flights.drop_unanswered(fixture.at(2000)), 0);
    }

    #[test]
    fn release_all_returns_all_waiters_in_order() {
        let mut fixture = Fixture::new(100);
        (0..6).for_each(|who| _ = fixture.join((who % 2) as u8, who, 0));
        assert_eq!(fixture.flights.release_all(), [2, 3, 4, 5]);
        assert_eq!(fixture.flights.next_due(), None);
        assert_eq!(fixture.join(0, 7, 1), Role::Leader);
    }

    #[test]
    fn a_waiter_for_an_absent_flight_is_returned() {
        let mut flights = SingleFlight::new(1, MAX_AGE);
        assert_eq!(flights.wait(key(1), Instant::now(), 5), Err(5));
    }
}

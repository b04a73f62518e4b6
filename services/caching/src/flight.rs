//! Single-flight: the first asker of a key leads and its question is really asked; equal askers wait for that answer.
//! Plain state; the clock is passed in, and what a waiter is stays with the caller.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use forebay_contract::CacheKey;
use rustc_hash::FxHashMap;

/// Questions under way and who waits for each.
#[derive(Debug)]
pub(crate) struct Flights<W> {
    open: FxHashMap<CacheKey, Flight>,
    waiters: FxHashMap<u64, W>,
    /// When waiters give up, soonest first. Those that were served are skipped when they come up.
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    /// Flights in the order they opened, so that one whose answer never comes does not stay.
    opened: VecDeque<(Instant, CacheKey)>,
    next: u64,
    room: usize,
    /// After this an unanswered flight is forgotten.
    memory: Duration,
}

#[derive(Debug)]
struct Flight {
    opened: Instant,
    /// When the present leader set out; an asker that comes too long after it leads itself.
    led: Instant,
    failures: u32,
    queue: VecDeque<u64>,
}

/// What an asker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It asks.
    Lead,
    /// It may wait: [`Flights::wait`] follows.
    Wait,
    /// It asks, too: there is no room to wait.
    Full,
}

/// Who is served by an answer.
#[derive(Debug)]
pub(crate) struct Landed<W> {
    /// In the order they came.
    pub(crate) waiters: Vec<W>,
    /// Since the question was first asked.
    pub(crate) took: Duration,
}

impl<W> Flights<W> {
    /// At most `room` waiters; flights are forgotten after `memory`.
    pub(crate) fn new(room: usize, memory: Duration) -> Self {
        let (open, waiters) = (FxHashMap::default(), FxHashMap::default());
        Self { open, waiters, due: BinaryHeap::new(), opened: VecDeque::new(), next: 0, room, memory }
    }

    /// Asks for `key`. A leader that set out more than `patience` ago is no longer waited for.
    pub(crate) fn ask(&mut self, key: CacheKey, now: Instant, patience: Duration) -> Turn {
        match self.open.get_mut(&key) {
            None => {
                self.open.insert(key, Flight { opened: now, led: now, failures: 0, queue: VecDeque::new() });
                self.opened.push_back((now, key));
                Turn::Lead
            }
            Some(flight) if now.saturating_duration_since(flight.led) > patience => {
                flight.led = now;
                Turn::Lead
            }
            Some(_) if self.waiters.len() >= self.room => Turn::Full,
            Some(_) => Turn::Wait,
        }
    }

    /// Waits for the answer to `key` until `until`. Gives the work back when nobody asked for that key.
    pub(crate) fn wait(&mut self, key: CacheKey, until: Instant, work: W) -> Result<(), W> {
        let Some(flight) = self.open.get_mut(&key) else {
            return Err(work);
        };
        let id = self.next;
        self.next += 1;
        flight.queue.push_back(id);
        self.due.push(Reverse((until, id)));
        self.waiters.insert(id, work);
        Ok(())
    }

    /// The answer to `key` is here. None when nobody asked, or the flight was forgotten.
    pub(crate) fn land(&mut self, key: &CacheKey, now: Instant) -> Option<Landed<W>> {
        let flight = self.open.remove(key)?;
        let took = now.saturating_duration_since(flight.opened);
        Some(Landed { waiters: self.take(flight.queue), took })
    }

    /// The leader of `key` failed. The next waiter leads; after a second failure in a row all go, because one more
    /// round trip for each of them would cost more than it saves.
    pub(crate) fn fail(&mut self, key: &CacheKey, now: Instant) -> Vec<W> {
        let Some(mut flight) = self.open.remove(key) else {
            return Vec::new();
        };
        flight.failures += 1;
        if flight.failures > 1 {
            return self.take(flight.queue);
        }
        while let Some(id) = flight.queue.pop_front() {
            if let Some(work) = self.waiters.remove(&id) {
                flight.opened = now;
                flight.led = now;
                self.opened.push_back((now, *key));
                self.open.insert(*key, flight);
                return vec![work];
            }
        }
        Vec::new()
    }

    /// Waiters whose time is up.
    pub(crate) fn give_up(&mut self, now: Instant) -> Vec<W> {
        let mut leaving = Vec::new();
        while let Some(Reverse((until, id))) = self.due.peek().copied() {
            if until > now {
                break;
            }
            self.due.pop();
            leaving.extend(self.waiters.remove(&id));
        }
        leaving
    }

    /// Forgets flights that are too old and have nobody waiting; returns how many.
    pub(crate) fn forget(&mut self, now: Instant) -> usize {
        let mut forgotten = 0;
        while let Some((opened, key)) = self.opened.front().copied() {
            if now.saturating_duration_since(opened) < self.memory {
                break;
            }
            self.opened.pop_front();
            let Some(flight) = self.open.get(&key).filter(|flight| flight.opened == opened) else {
                continue; // answered, or opened again since
            };
            if flight.queue.iter().any(|id| self.waiters.contains_key(id)) {
                self.opened.push_back((now, key));
                if let Some(flight) = self.open.get_mut(&key) {
                    flight.opened = now;
                }
                continue;
            }
            self.open.remove(&key);
            forgotten += 1;
        }
        forgotten
    }

    /// Everyone who waits, because the answers will come to somebody else now.
    pub(crate) fn release_all(&mut self) -> Vec<W> {
        self.open.clear();
        self.opened.clear();
        self.due.clear();
        let mut all: Vec<(u64, W)> = self.waiters.drain().collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all.into_iter().map(|(_, work)| work).collect()
    }

    /// When [`Flights::give_up`] or [`Flights::forget`] has something to do next.
    pub(crate) fn next_due(&mut self) -> Option<Instant> {
        while let Some(Reverse((_, id))) = self.due.peek() {
            if self.waiters.contains_key(id) {
                break;
            }
            self.due.pop();
        }
        let waiter = self.due.peek().map(|Reverse((until, _))| *until);
        let flight = self.opened.front().map(|(opened, _)| *opened + self.memory);
        [waiter, flight].into_iter().flatten().min()
    }

    /// How many wait.
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

    const PATIENCE: Duration = Duration::from_millis(50);
    const MEMORY: Duration = Duration::from_millis(250);

    fn key(n: u8) -> CacheKey {
        CacheKey([n; 32])
    }

    struct Asker {
        flights: Flights<u32>,
        start: Instant,
    }

    impl Asker {
        fn new(room: usize) -> Self {
            Self { flights: Flights::new(room, MEMORY), start: Instant::now() }
        }

        fn at(&self, ms: u64) -> Instant {
            self.start + Duration::from_millis(ms)
        }

        fn ask(&mut self, n: u8, who: u32, ms: u64) -> Turn {
            let turn = self.flights.ask(key(n), self.at(ms), PATIENCE);
            if turn == Turn::Wait {
                self.flights.wait(key(n), self.at(ms) + PATIENCE, who).unwrap();
            }
            turn
        }
    }

    #[test]
    fn a_hundred_equal_askers_have_one_leader() {
        let mut asker = Asker::new(1000);
        let turns: Vec<Turn> = (0..100).map(|who| asker.ask(1, who, 0)).collect();
        assert_eq!(turns.iter().filter(|turn| **turn == Turn::Lead).count(), 1);
        assert_eq!(asker.ask(2, 500, 0), Turn::Lead);
        let landed = asker.flights.land(&key(1), asker.at(7)).unwrap();
        assert_eq!(landed.waiters, (1..100).collect::<Vec<_>>());
        assert_eq!(landed.took, Duration::from_millis(7));
        assert_eq!(asker.flights.waiting(), 0);
        assert!(asker.flights.land(&key(1), asker.at(8)).is_none());
    }

    #[test]
    fn without_room_an_asker_goes_on() {
        let mut asker = Asker::new(1);
        assert_eq!([0, 1, 2].map(|who| asker.ask(1, who, 0)), [Turn::Lead, Turn::Wait, Turn::Full]);
    }

    #[test]
    fn a_failure_promotes_one_and_a_second_releases_all() {
        let mut asker = Asker::new(100);
        (0..5).for_each(|who| _ = asker.ask(1, who, 0));
        assert_eq!(asker.flights.fail(&key(1), asker.at(1)), [1]);
        assert_eq!(asker.ask(1, 9, 2), Turn::Wait);
        assert_eq!(asker.flights.fail(&key(1), asker.at(3)), [2, 3, 4, 9]);
        assert_eq!(asker.ask(1, 10, 4), Turn::Lead);
    }

    #[test]
    fn a_promoted_waiter_can_still_serve_the_others() {
        let mut asker = Asker::new(100);
        (0..4).for_each(|who| _ = asker.ask(1, who, 0));
        asker.flights.fail(&key(1), asker.at(1));
        assert_eq!(asker.flights.land(&key(1), asker.at(9)).unwrap().waiters, [2, 3]);
    }

    #[test]
    fn a_failure_nobody_waits_for_ends_the_flight() {
        let mut asker = Asker::new(100);
        asker.ask(1, 0, 0);
        assert!(asker.flights.fail(&key(1), asker.at(1)).is_empty());
        assert_eq!(asker.ask(1, 1, 2), Turn::Lead);
    }

    #[test]
    fn waiters_give_up_in_time_and_only_those() {
        let mut asker = Asker::new(100);
        asker.ask(1, 0, 0);
        asker.ask(1, 1, 0);
        asker.ask(1, 2, 20);
        assert_eq!(asker.flights.next_due(), Some(asker.at(50)));
        assert!(asker.flights.give_up(asker.at(49)).is_empty());
        assert_eq!(asker.flights.give_up(asker.at(50)), [1]);
        assert_eq!(asker.flights.land(&key(1), asker.at(60)).unwrap().waiters, [2]);
        assert!(asker.flights.give_up(asker.at(1000)).is_empty());
    }

    #[test]
    fn a_late_asker_does_not_wait_for_a_lost_leader() {
        let mut asker = Asker::new(100);
        asker.ask(1, 0, 0);
        assert_eq!(asker.ask(1, 1, 51), Turn::Lead);
        assert_eq!(asker.ask(1, 2, 60), Turn::Wait);
        let landed = asker.flights.land(&key(1), asker.at(70)).unwrap();
        assert_eq!(landed.took, Duration::from_millis(70), "from the first question");
    }

    #[test]
    fn unanswered_flights_are_forgotten() {
        let mut asker = Asker::new(100);
        (0..10).for_each(|n| _ = asker.ask(n, 0, u64::from(n)));
        asker.flights.land(&key(0), asker.at(20));
        assert_eq!(asker.flights.forget(asker.at(255)), 5);
        assert_eq!(asker.flights.forget(asker.at(1000)), 4);
        assert_eq!(asker.flights.next_due(), None);
    }

    #[test]
    fn a_flight_with_waiters_is_kept() {
        let mut asker = Asker::new(100);
        asker.ask(1, 0, 0);
        let late = asker.at(900);
        asker.flights.wait(key(1), late, 1).unwrap();
        assert_eq!(asker.flights.forget(asker.at(300)), 0);
        assert_eq!(asker.flights.land(&key(1), asker.at(301)).unwrap().waiters, [1]);
        assert_eq!(asker.flights.forget(asker.at(2000)), 0);
    }

    #[test]
    fn release_all_gives_everyone_back_in_order() {
        let mut asker = Asker::new(100);
        (0..6).for_each(|who| _ = asker.ask((who % 2) as u8, who, 0));
        assert_eq!(asker.flights.release_all(), [2, 3, 4, 5]);
        assert_eq!(asker.flights.next_due(), None);
        assert_eq!(asker.ask(0, 7, 1), Turn::Lead);
    }

    #[test]
    fn a_wait_for_nothing_is_given_back() {
        let mut flights = Flights::new(1, MEMORY);
        assert_eq!(flights.wait(key(1), Instant::now(), 5), Err(5));
    }
}

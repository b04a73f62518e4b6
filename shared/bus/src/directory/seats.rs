//! The replicas that serve models, and which of them are alive. Clocks of machines differ, so a replica lives by when
//! it was heard here, never by what time it says it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_contract::ReplicaState;

use super::LONG_DEAD;

struct Seat {
    state: Arc<ReplicaState>,
    /// When it was last heard; none for the replica of this process.
    heard: Option<Instant>,
    /// Counted as live when last looked at.
    live: bool,
}

/// Who reports what.
pub(super) struct Seats {
    expiry: Duration,
    /// By model and replica.
    seats: BTreeMap<(String, String), Seat>,
    /// On the topic, by model and replica, though long gone.
    dead: BTreeSet<(String, String)>,
    /// Since when nothing can be heard.
    deaf_since: Option<Instant>,
}

impl Seats {
    pub(super) fn new(expiry: Duration) -> Self {
        Self { expiry, seats: BTreeMap::new(), dead: BTreeSet::new(), deaf_since: None }
    }

    /// Whether this says anything new. A state older than the one that is known of the same replica is nothing.
    pub(super) fn take(&mut self, state: ReplicaState, heard: Option<Instant>) -> bool {
        let key = (state.model.clone(), state.replica.clone());
        let changed = match self.seats.get(&key) {
            Some(seat) if heard.is_some() && seat.state.at_ms > state.at_ms => return false,
            // the writer knows by the state itself what it has written
            Some(seat) if heard.is_none() && same(&seat.state, &state) => return false,
            Some(seat) => !seat.live || !same(&seat.state, &state),
            None => true,
        };
        self.dead.remove(&key);
        self.seats.insert(key, Seat { state: Arc::new(state), heard, live: true });
        changed
    }

    /// Notes a replica whose record is too old for it to be alive.
    pub(super) fn find_dead(&mut self, state: ReplicaState) {
        let key = (state.model, state.replica);
        if !self.seats.contains_key(&key) {
            self.dead.insert(key);
        }
    }

    /// Takes a replica away, from one model or from all.
    pub(super) fn remove(&mut self, replica: &str, model: Option<&str>) -> bool {
        self.dead.retain(|(m, r)| r != replica || model.is_some_and(|model| model != m));
        let before = self.seats.len();
        self.seats.retain(|(m, r), _| r != replica || model.is_some_and(|model| model != m));
        before != self.seats.len()
    }

    pub(super) fn live(&self, model: &str, now: Instant) -> Vec<Arc<ReplicaState>> {
        let first = (model.to_owned(), String::new());
        let of_model = self.seats.range(first..).take_while(|((m, _), _)| m == model);
        of_model.filter(|(_, seat)| self.is_live(seat, now)).map(|(_, seat)| Arc::clone(&seat.state)).collect()
    }

    pub(super) fn own(&self) -> Vec<Arc<ReplicaState>> {
        self.seats.values().filter(|seat| seat.heard.is_none()).map(|seat| Arc::clone(&seat.state)).collect()
    }

    /// Whether anyone expired since the last look.
    pub(super) fn sweep(&mut self, now: Instant) -> bool {
        let (expiry, now) = (self.expiry, self.deaf_since.unwrap_or(now));
        let mut changed = false;
        for seat in self.seats.values_mut() {
            let live = lives(seat, now, expiry);
            changed |= seat.live && !live;
            seat.live = live;
        }
        changed
    }

    /// Replicas that were silent for so long that nothing may be kept of them, by model and name.
    pub(super) fn take_dead(&mut self, now: Instant) -> Vec<(String, String)> {
        let now = self.deaf_since.unwrap_or(now);
        let mut dead = std::mem::take(&mut self.dead);
        self.seats.retain(|key, seat| {
            let kept = lives(seat, now, LONG_DEAD);
            if !kept {
                dead.insert(key.clone());
            }
            kept
        });
        dead.into_iter().collect()
    }

    /// The time in which nothing can be heard does not count as silence.
    pub(super) fn connected(&mut self, connected: bool, now: Instant) {
        match (connected, self.deaf_since) {
            (false, None) => self.deaf_since = Some(now),
            (true, Some(since)) => {
                let deaf = now.saturating_duration_since(since);
                for heard in self.seats.values_mut().filter_map(|seat| seat.heard.as_mut()) {
                    *heard += deaf;
                }
                self.deaf_since = None;
            }
            _ => {}
        }
    }

    fn is_live(&self, seat: &Seat, now: Instant) -> bool {
        lives(seat, self.deaf_since.unwrap_or(now), self.expiry)
    }
}

fn lives(seat: &Seat, now: Instant, limit: Duration) -> bool {
    seat.heard.is_none_or(|heard| now.saturating_duration_since(heard) < limit)
}

/// Equal but for the time of sending.
fn same(one: &ReplicaState, other: &ReplicaState) -> bool {
    one.production == other.production && one.versions == other.versions && one.rows == other.rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPIRY: Duration = Duration::from_secs(15);

    fn state(replica: &str, at_ms: u64) -> ReplicaState {
        ReplicaState { replica: replica.into(), model: "m".into(), at_ms, ..ReplicaState::default() }
    }

    fn names(seats: &Seats, now: Instant) -> Vec<String> {
        seats.live("m", now).iter().map(|state| state.replica.clone()).collect()
    }

    #[test]
    fn silence_ends_a_replica_and_is_told_once_then_its_record_goes() {
        let (start, mut seats) = (Instant::now(), Seats::new(EXPIRY));
        assert!(seats.take(state("own", 0), None));
        assert!(seats.take(state("a", 0), Some(start)));
        assert!(!seats.take(state("a", 5), Some(start + EXPIRY / 2)), "a heartbeat is no change");
        assert!(!seats.sweep(start + EXPIRY));
        assert_eq!(names(&seats, start + EXPIRY), ["a", "own"]);

        let late = start + EXPIRY * 2;
        assert_eq!(names(&seats, late), ["own"]);
        assert!(seats.sweep(late));
        assert!(!seats.sweep(late));
        assert_eq!(seats.take_dead(late), []);
        assert!(seats.take(state("a", 6), Some(late)), "who comes back is a change");

        assert_eq!(seats.take_dead(late + LONG_DEAD), [("m".to_owned(), "a".to_owned())]);
        assert_eq!(names(&seats, late), ["own"]);
    }

    #[test]
    fn a_state_that_comes_late_is_not_believed() {
        let (now, mut seats) = (Instant::now(), Seats::new(EXPIRY));
        let newer = ReplicaState { production: 2, ..state("a", 10) };
        assert!(seats.take(newer, Some(now)));
        assert!(!seats.take(state("a", 9), Some(now)));
        assert_eq!(seats.live("m", now).first().map(|state| state.production), Some(2));
    }

    #[test]
    fn nobody_expires_while_nothing_can_be_heard() {
        let (start, mut seats) = (Instant::now(), Seats::new(EXPIRY));
        seats.take(state("a", 0), Some(start));
        seats.connected(false, start + EXPIRY / 3);
        assert_eq!(names(&seats, start + EXPIRY * 9), ["a"]);
        assert!(!seats.sweep(start + EXPIRY * 9));
        assert_eq!(seats.take_dead(start + EXPIRY * 99), []);
        seats.connected(true, start + EXPIRY * 9);
        assert_eq!(names(&seats, start + EXPIRY * 9 + EXPIRY / 2), ["a"]);
        assert!(names(&seats, start + EXPIRY * 10).is_empty());
    }

    #[test]
    fn a_replica_leaves_one_model_or_all() {
        let (now, mut seats) = (Instant::now(), Seats::new(EXPIRY));
        for model in ["m", "n"] {
            seats.take(ReplicaState { model: model.into(), ..state("a", 0) }, Some(now));
        }
        assert!(seats.remove("a", Some("n")));
        assert_eq!(names(&seats, now), ["a"]);
        assert!(seats.remove("a", None));
        assert!(!seats.remove("a", None));
    }
}

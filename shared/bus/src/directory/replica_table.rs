//! The replicas that serve models, and which of them are alive. Clocks differ between machines, so liveness uses the
//! local time at which a state arrived, never the sender's clock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_contract::ReplicaState;

use super::LONG_DEAD;

struct Replica {
    state: Arc<ReplicaState>,
    /// When its state last arrived; `None` for the replica of this process.
    arrived: Option<Instant>,
    /// Whether it was live at the last [`ReplicaTable::sweep`].
    live: bool,
}

/// What each replica reports about each model.
pub(super) struct ReplicaTable {
    expiry: Duration,
    /// By model and replica.
    replicas: BTreeMap<(String, String), Replica>,
    /// Replicas whose record is still on the topic although they ended long ago, by model and name.
    dead: BTreeSet<(String, String)>,
    /// Since when the topic cannot be read.
    disconnected_since: Option<Instant>,
}

impl ReplicaTable {
    pub(super) fn new(expiry: Duration) -> Self {
        Self { expiry, replicas: BTreeMap::new(), dead: BTreeSet::new(), disconnected_since: None }
    }

    /// Stores a state and returns whether it changes anything. A state older than the stored one is ignored.
    pub(super) fn take(&mut self, state: ReplicaState, arrived: Option<Instant>) -> bool {
        let key = (state.model.clone(), state.replica.clone());
        let changed = match self.replicas.get(&key) {
            Some(replica) if arrived.is_some() && replica.state.at_ms > state.at_ms => return false,
            // the writer knows by the state itself what it has written
            Some(replica) if arrived.is_none() && same(&replica.state, &state) => return false,
            // it may have expired since the last sweep
            Some(replica) => {
                let expired = arrived.is_some_and(|now| !self.is_live(replica, now));
                expired || !replica.live || !same(&replica.state, &state)
            }
            None => true,
        };
        self.dead.remove(&key);
        self.replicas.insert(key, Replica { state: Arc::new(state), arrived, live: true });
        changed
    }

    /// Notes a replica whose record is too old for it to be alive.
    pub(super) fn note_stale(&mut self, state: ReplicaState) {
        let key = (state.model, state.replica);
        if !self.replicas.contains_key(&key) {
            self.dead.insert(key);
        }
    }

    /// Removes a replica from one model or from all.
    pub(super) fn remove(&mut self, name: &str, model: Option<&str>) -> bool {
        self.dead.retain(|(m, r)| r != name || model.is_some_and(|model| model != m));
        let before = self.replicas.len();
        self.replicas.retain(|(m, r), _| r != name || model.is_some_and(|model| model != m));
        before != self.replicas.len()
    }

    pub(super) fn live(&self, model: &str, now: Instant) -> Vec<Arc<ReplicaState>> {
        let first = (model.to_owned(), String::new());
        let of_model = self.replicas.range(first..).take_while(|((m, _), _)| m == model);
        of_model
            .filter(|(_, replica)| self.is_live(replica, now))
            .map(|(_, replica)| Arc::clone(&replica.state))
            .collect()
    }

    pub(super) fn own(&self) -> Vec<Arc<ReplicaState>> {
        self.replicas
            .values()
            .filter(|replica| replica.arrived.is_none())
            .map(|replica| Arc::clone(&replica.state))
            .collect()
    }

    /// Returns whether a replica has expired since the last call.
    pub(super) fn sweep(&mut self, now: Instant) -> bool {
        let (expiry, now) = (self.expiry, self.disconnected_since.unwrap_or(now));
        let mut changed = false;
        for replica in self.replicas.values_mut() {
            let live = lives(replica, now, expiry);
            changed |= replica.live && !live;
            replica.live = live;
        }
        changed
    }

    /// Removes the replicas that have been silent for [`LONG_DEAD`] and returns them by model and name.
    pub(super) fn take_dead(&mut self, now: Instant) -> Vec<(String, String)> {
        let now = self.disconnected_since.unwrap_or(now);
        let mut dead = std::mem::take(&mut self.dead);
        self.replicas.retain(|key, replica| {
            let kept = lives(replica, now, LONG_DEAD);
            if !kept {
                dead.insert(key.clone());
            }
            kept
        });
        dead.into_iter().collect()
    }

    /// Time in which the topic cannot be read does not count as silence.
    pub(super) fn connected(&mut self, connected: bool, now: Instant) {
        match (connected, self.disconnected_since) {
            (false, None) => self.disconnected_since = Some(now),
            (true, Some(since)) => {
                let gap = now.saturating_duration_since(since);
                for arrived in self.replicas.values_mut().filter_map(|replica| replica.arrived.as_mut()) {
                    *arrived += gap;
                }
                self.disconnected_since = None;
            }
            _ => {}
        }
    }

    fn is_live(&self, replica: &Replica, now: Instant) -> bool {
        lives(replica, self.disconnected_since.unwrap_or(now), self.expiry)
    }
}

fn lives(replica: &Replica, now: Instant, limit: Duration) -> bool {
    replica.arrived.is_none_or(|arrived| now.saturating_duration_since(arrived) < limit)
}

/// Whether two states differ in nothing but the time of sending.
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

    fn names(replicas: &ReplicaTable, now: Instant) -> Vec<String> {
        replicas.live("m", now).iter().map(|state| state.replica.clone()).collect()
    }

    #[test]
    fn silence_ends_a_replica_and_is_reported_once_then_its_record_is_removed() {
        let (start, mut replicas) = (Instant::now(), ReplicaTable::new(EXPIRY));
        assert!(replicas.take(state("own", 0), None));
        assert!(replicas.take(state("a", 0), Some(start)));
        assert!(!replicas.take(state("a", 5), Some(start + EXPIRY / 2)), "a heartbeat is no change");
        assert!(!replicas.sweep(start + EXPIRY));
        assert_eq!(names(&replicas, start + EXPIRY), ["a", "own"]);

        let late = start + EXPIRY * 2;
        assert_eq!(names(&replicas, late), ["own"]);
        assert!(replicas.sweep(late));
        assert!(!replicas.sweep(late));
        assert_eq!(replicas.take_dead(late), []);
        assert!(replicas.take(state("a", 6), Some(late)), "a replica that returns is a change");

        assert!(replicas.take(state("a", 7), Some(late + EXPIRY)), "also where no sweep has seen it go");

        assert_eq!(replicas.take_dead(late + EXPIRY + LONG_DEAD), [("m".to_owned(), "a".to_owned())]);
        assert_eq!(names(&replicas, late), ["own"]);
    }

    #[test]
    fn a_state_that_comes_late_is_not_believed() {
        let (now, mut replicas) = (Instant::now(), ReplicaTable::new(EXPIRY));
        let newer = ReplicaState { production: 2, ..state("a", 10) };
        assert!(replicas.take(newer, Some(now)));
        assert!(!replicas.take(state("a", 9), Some(now)));
        assert_eq!(replicas.live("m", now).first().map(|state| state.production), Some(2));
    }

    #[test]
    fn no_replica_expires_while_nothing_can_be_read() {
        let (start, mut replicas) = (Instant::now(), ReplicaTable::new(EXPIRY));
        replicas.take(state("a", 0), Some(start));
        replicas.connected(false, start + EXPIRY / 3);
        assert_eq!(names(&replicas, start + EXPIRY * 9), ["a"]);
        assert!(!replicas.sweep(start + EXPIRY * 9));
        assert_eq!(replicas.take_dead(start + EXPIRY * 99), []);
        replicas.connected(true, start + EXPIRY * 9);
        assert_eq!(names(&replicas, start + EXPIRY * 9 + EXPIRY / 2), ["a"]);
        assert!(names(&replicas, start + EXPIRY * 10).is_empty());
    }

    #[test]
    fn a_replica_leaves_one_model_or_all() {
        let (now, mut replicas) = (Instant::now(), ReplicaTable::new(EXPIRY));
        for model in ["m", "n"] {
            replicas.take(ReplicaState { model: model.into(), ..state("a", 0) }, Some(now));
        }
        assert!(replicas.remove("a", Some("n")));
        assert_eq!(names(&replicas, now), ["a"]);
        assert!(replicas.remove("a", None));
        assert!(!replicas.remove("a", None));
    }
}

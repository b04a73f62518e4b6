//! What is known of models and of the replicas that serve them: the views that prediction reads from the registry, and
//! the state of every prediction replica. In one process the stages share one model directory; between processes the compacted
//! topic `forebay.models` keeps their boards equal.

mod formats;
mod metrics;
mod seats;
mod views;

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_contract::{DirectoryKey, LoadState, ModelView, ReplicaState, VersionState, now_us};
use forebay_runtime::{Host, Notifier};
use parking_lot::Mutex;
use prost::Message;

use formats::Formats;
use metrics::DirectoryMetrics;
use seats::Seats;
use views::Views;

/// How often a replica repeats its state on the topic. A constant: readers of other services count with it.
pub const HEARTBEAT: Duration = Duration::from_secs(5);
/// A replica that was not heard for so long is no longer counted.
pub const EXPIRY: Duration = Duration::from_secs(15);
/// A replica that was not heard for so long is forgotten, and its record on the topic with it.
pub(crate) const LONG_DEAD: Duration = EXPIRY.saturating_mul(20);

/// How far the live replicas are with one version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadyCount {
    /// Live replicas of the model.
    pub live: usize,
    /// Those that can answer with the version.
    pub ready: usize,
    /// Those that could not load it.
    pub failed: usize,
}

impl ReadyCount {
    /// Every live replica can answer with it, and there is one.
    pub fn all_ready(&self) -> bool {
        self.live > 0 && self.ready == self.live
    }

    /// No live replica could load it, and there is one.
    pub fn all_failed(&self) -> bool {
        self.live > 0 && self.failed == self.live
    }
}

/// Records this process has to put on the topic.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// Views whose record on the topic is not what it should be.
    pub(crate) views: Vec<(DirectoryKey, Option<Vec<u8>>)>,
    /// States of this replica.
    pub(crate) states: Vec<Arc<ReplicaState>>,
    /// Replicas that ended without a word, long ago.
    pub(crate) dead: Vec<DirectoryKey>,
}

struct State {
    views: Views,
    seats: Seats,
    formats: Formats,
    left: bool,
    caught_up: bool,
}

struct Inner {
    replica: String,
    state: Mutex<State>,
    changes: Notifier,
}

/// The model directory of this process. Clones share it; no call blocks.
#[derive(Clone)]
pub struct ModelDirectory(Arc<Inner>);

impl ModelDirectory {
    /// A board that nothing but this process writes. `replica` names the process to others:
    /// [`forebay_runtime::Host::replica`].
    pub fn new(replica: &str) -> Self {
        Self::expiring(replica, EXPIRY)
    }

    /// As [`ModelDirectory::new`], with another expiry.
    pub fn expiring(replica: &str, expiry: Duration) -> Self {
        let (views, seats, formats) = (Views::default(), Seats::new(expiry), Formats::default());
        let state = Mutex::new(State { views, seats, formats, left: false, caught_up: true });
        Self(Arc::new(Inner { replica: replica.to_owned(), state, changes: Notifier::new() }))
    }

    /// The model directory of the process, with its metrics.
    pub fn of(host: &Host) -> Self {
        let directory = Self::new(host.replica());
        host.metrics().collect(DirectoryMetrics(directory.clone()));
        directory
    }

    /// The name under which this process reports.
    pub fn replica(&self) -> &str {
        &self.0.replica
    }

    /// Called when a view or what a replica reports has changed; not by heartbeats.
    pub fn changes(&self) -> &Notifier {
        &self.0.changes
    }

    /// Whether everything has been read that was on the topic when this process started; always, in memory.
    pub fn is_caught_up(&self) -> bool {
        self.0.state.lock().caught_up
    }

    /// Makes `view` the view of its model, unless it says what the model directory says already. Its generation is set here, above
    /// that of the view before and not below the clock. Returns the generation that counts now.
    pub fn publish_view(&self, view: ModelView) -> u64 {
        let (generation, changed) = self.0.state.lock().views.publish(view, now_us() / 1000);
        self.tell(changed);
        generation
    }

    /// Takes the view of a model away: the registry has it no longer.
    pub fn withdraw_view(&self, model: &str) {
        let changed = self.0.state.lock().views.withdraw(model);
        self.tell(changed);
    }

    /// Says what this replica has of `model`. `production` is the version that answers here when a request names none.
    /// The heartbeat repeats it until it changes or the process leaves.
    pub fn report(&self, model: &str, production: Option<u32>, versions: Vec<VersionState>) {
        let numbers: Vec<u32> = versions.iter().map(|version| version.version).collect();
        let changed = {
            let mut inner = self.0.state.lock();
            let state = ReplicaState {
                replica: self.0.replica.clone(),
                model: model.to_owned(),
                at_ms: now_us() / 1000,
                versions,
                production: production.unwrap_or(0),
                rows: inner.formats.of(model, &numbers),
            };
            !inner.left && inner.seats.take(state, None)
        };
        self.tell(changed);
    }

    /// Says what rows a version takes: the names of a raw row's values, and whether one may be missing. Said before the
    /// report that has the version.
    pub fn describe(&self, model: &str, version: u32, features: Vec<String>, accepts_missing: bool) {
        self.0.state.lock().formats.put(model, version, features, accepts_missing);
    }

    /// Takes this replica's states away and takes no more of them: the process ends.
    pub fn leave(&self) {
        let changed = {
            let mut inner = self.0.state.lock();
            inner.left = true;
            inner.seats.remove(&self.0.replica, None)
        };
        self.tell(changed);
    }

    /// The view of every model, by name.
    pub fn views(&self) -> Vec<Arc<ModelView>> {
        self.0.state.lock().views.all()
    }

    /// The view of one model.
    pub fn view(&self, model: &str) -> Option<Arc<ModelView>> {
        self.0.state.lock().views.get(model)
    }

    /// What the live replicas report of `model`, by name of the replica.
    pub fn replicas(&self, model: &str) -> Vec<Arc<ReplicaState>> {
        self.0.state.lock().seats.live(model, Instant::now())
    }

    /// How far the live replicas are with a version.
    pub fn ready_count(&self, model: &str, version: u32) -> ReadyCount {
        let mut ready_count = ReadyCount::default();
        for replica in self.replicas(model) {
            ready_count.live += 1;
            let found = replica.versions.iter().find(|state| state.version == version);
            match found.map(VersionState::state) {
                Some(LoadState::Ready) => ready_count.ready += 1,
                Some(LoadState::Failed) => ready_count.failed += 1,
                _ => {}
            }
        }
        ready_count
    }

    /// Whether every live replica can answer with a version; `None` when no live replica of the model is known.
    pub fn every_live_replica_has(&self, model: &str, version: u32) -> Option<bool> {
        let ready_count = self.ready_count(model, version);
        (ready_count.live > 0).then(|| ready_count.all_ready())
    }

    /// Takes a view that another process published. The newer of two counts, whatever the order they come in.
    pub fn hear_view(&self, view: ModelView) {
        let changed = self.0.state.lock().views.hear(view);
        self.tell(changed);
    }

    /// Takes the state of another replica, as heard now.
    pub fn hear(&self, state: ReplicaState) {
        let own = state.replica == self.0.replica;
        let changed = !own && self.0.state.lock().seats.take(state, Some(Instant::now()));
        self.tell(changed);
    }

    /// A state that was on the topic long before this process started.
    pub(crate) fn find_dead(&self, state: ReplicaState) {
        if state.replica != self.0.replica {
            self.0.state.lock().seats.find_dead(state);
        }
    }

    /// Another process took an entry away.
    pub(crate) fn hear_gone(&self, key: &DirectoryKey) {
        let changed = match key {
            DirectoryKey::View(model) => self.0.state.lock().views.forget(model),
            DirectoryKey::Replica { replica, .. } if *replica == self.0.replica => false,
            DirectoryKey::Replica { replica, model } => self.0.state.lock().seats.remove(replica, Some(model)),
        };
        self.tell(changed);
    }

    /// Replicas that expired since the last call are told as a change.
    pub(crate) fn sweep(&self) {
        let changed = self.0.state.lock().seats.sweep(Instant::now());
        self.tell(changed);
    }

    /// While the topic cannot be read nobody expires.
    pub(crate) fn connected(&self, connected: bool) {
        self.0.state.lock().seats.connected(connected, Instant::now());
    }

    /// Whether the beginning has been read; until then nothing is written.
    pub(crate) fn caught_up(&self, caught_up: bool) {
        self.0.state.lock().caught_up = caught_up;
        self.tell(true);
    }

    /// What has to be written now. Views are given once, states every time.
    pub(crate) fn outgoing(&self) -> Outgoing {
        let mut state = self.0.state.lock();
        if !state.caught_up {
            return Outgoing::default();
        }
        let views = state.views.take_unwritten().into_iter();
        let views = views.map(|(model, view)| (DirectoryKey::View(model), view.map(|view| view.encode_to_vec())));
        let (states, dead) = (state.seats.own(), state.seats.take_dead(Instant::now()));
        let dead = dead.into_iter().map(|(model, replica)| DirectoryKey::Replica { replica, model }).collect();
        Outgoing { views: views.collect(), states, dead }
    }

    /// Every view is written again: a topic that was made anew gets them back.
    pub(crate) fn repeat_views(&self) {
        self.0.state.lock().views.repeat();
    }

    fn tell(&self, changed: bool) {
        if changed {
            self.0.changes.notify();
        }
    }
}

impl std::fmt::Debug for ModelDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelDirectory").field("replica", &self.0.replica).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

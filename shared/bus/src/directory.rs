//! What is known about the models and the replicas that serve them: the views that prediction reads from the registry,
//! and the state of every prediction replica. In one process the stages share one model directory; between processes the
//! compacted topic `forebay.models` keeps their directories equal.

mod generations;
mod metrics;
mod overrides;
mod ready_count;
mod replica_table;
mod row_formats;
mod row_width;
mod view_table;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_contract::{ColumnKind, DirectoryKey, LoadState, ModelView, ReplicaState, RowFormat, VersionState, now_us};
use forebay_runtime::{Host, Notifier};
use parking_lot::{Mutex, RwLock};
use prost::Message;

pub use generations::SeenGenerations;
use metrics::DirectoryMetrics;
use overrides::OverrideTable;
pub use ready_count::ReadyCount;
use replica_table::ReplicaTable;
use row_formats::RowFormats;
use view_table::ViewTable;

/// How often a replica repeats its state on the topic. A constant, because readers in other services rely on it.
pub const HEARTBEAT: Duration = Duration::from_secs(5);
/// A replica that has been silent for this long no longer counts.
pub const EXPIRY: Duration = Duration::from_secs(15);
/// A replica that has been silent for this long is forgotten and its record removed from the topic.
pub(crate) const LONG_DEAD: Duration = EXPIRY.saturating_mul(20);

/// Records this process has to put on the topic.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// Views whose record on the topic has to be written or removed.
    pub(crate) views: Vec<(DirectoryKey, Option<Vec<u8>>)>,
    /// The states of this replica.
    pub(crate) states: Vec<Arc<ReplicaState>>,
    /// Requests to load and unload models that this process received.
    pub(crate) overrides: Vec<(DirectoryKey, Option<Vec<u8>>)>,
    /// Replicas that ended long ago without removing their record.
    pub(crate) dead: Vec<DirectoryKey>,
}

struct State {
    views: ViewTable,
    replicas: ReplicaTable,
    formats: RowFormats,
    left: bool,
    caught_up: bool,
    /// Whether the directory is on a topic, which outlives this process.
    on_topic: bool,
}

struct Inner {
    replica: String,
    state: Mutex<State>,
    /// Models of which a replica has reported a version with a column of text.
    text_models: RwLock<BTreeSet<String>>,
    overrides: RwLock<OverrideTable>,
    changes: Notifier,
}

/// The model directory of this process. Clones share it; no call blocks.
#[derive(Clone)]
pub struct ModelDirectory(Arc<Inner>);

impl ModelDirectory {
    /// A directory that only this process writes. `replica` names the process to others:
    /// [`forebay_runtime::Host::replica`].
    pub fn new(replica: &str) -> Self {
        Self::expiring(replica, EXPIRY)
    }

    /// As [`ModelDirectory::new`], with another expiry.
    pub fn expiring(replica: &str, expiry: Duration) -> Self {
        let (views, replicas, formats) = (ViewTable::default(), ReplicaTable::new(expiry), RowFormats::default());
        let state = Mutex::new(State { views, replicas, formats, left: false, caught_up: true, on_topic: false });
        let (text_models, overrides) = (RwLock::default(), RwLock::default());
        Self(Arc::new(Inner { replica: replica.to_owned(), state, text_models, overrides, changes: Notifier::new() }))
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

    /// Notified when a view or the report of a replica has changed; heartbeats do not count.
    pub fn changes(&self) -> &Notifier {
        &self.0.changes
    }

    /// Whether everything has been read that was on the topic when this process started; always, in memory.
    pub fn is_caught_up(&self) -> bool {
        self.0.state.lock().caught_up
    }

    /// Makes `view` the view of its model, unless it says what the model directory says already. Its generation is set here,
    /// above that of the view before and not below the clock. Returns the generation that counts now.
    pub fn publish_view(&self, view: ModelView) -> u64 {
        let (generation, changed) = self.0.state.lock().views.publish(view, now_us() / 1000);
        self.notify(changed);
        generation
    }

    /// Removes the view of a model that is no longer in the registry.
    pub fn withdraw_view(&self, model: &str) {
        let changed = self.0.state.lock().views.withdraw(model);
        self.notify(changed);
    }

    /// Reports what this replica has of `model`. `production` is the version that answers here when a request names
    /// none. The heartbeat repeats it until it changes or the process leaves.
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
            self.note_text(&state);
            !inner.left && inner.replicas.take(state, None)
        };
        self.notify(changed);
    }

    /// Reports what rows a version takes; the versions of `format` do not count. Call it before the report that lists
    /// the version.
    pub fn describe(&self, model: &str, version: u32, format: RowFormat) {
        self.0.state.lock().formats.put(model, version, format);
    }

    /// Whether a version of `model` has a column of text, as far as replicas have reported. It takes no lock that the
    /// topic's reader holds for long, so that it can be asked for every request.
    pub fn takes_text(&self, model: &str) -> bool {
        let models = self.0.text_models.read();
        !models.is_empty() && models.contains(model)
    }

    fn note_text(&self, state: &ReplicaState) {
        let text = state.rows.iter().any(|rows| rows.kinds().any(|kind| kind == ColumnKind::Text));
        if text && !self.takes_text(&state.model) {
            self.0.text_models.write().insert(state.model.clone());
        }
    }

    /// Removes this replica's states and accepts no more of them: the process is ending.
    pub fn leave(&self) {
        let changed = {
            let mut inner = self.0.state.lock();
            inner.left = true;
            inner.replicas.remove(&self.0.replica, None)
        };
        self.notify(changed);
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
        self.0.state.lock().replicas.live(model, Instant::now())
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

    /// Stores a view that another process published. The newer of two counts, in whichever order they arrive.
    pub fn on_view(&self, view: ModelView) {
        let changed = self.0.state.lock().views.on_view(view);
        self.notify(changed);
    }

    /// Stores the state of another replica, which arrived now.
    pub fn on_state(&self, state: ReplicaState) {
        let own = state.replica == self.0.replica;
        self.note_text(&state);
        let changed = !own && self.0.state.lock().replicas.take(state, Some(Instant::now()));
        self.notify(changed);
    }

    /// Notes a state that was on the topic long before this process started.
    pub(crate) fn on_stale(&self, state: ReplicaState) {
        if state.replica != self.0.replica {
            self.0.state.lock().replicas.note_stale(state);
        }
    }

    /// Removes an entry that another process removed from the topic.
    pub(crate) fn on_removed(&self, key: &DirectoryKey) {
        let changed = match key {
            DirectoryKey::View(model) => self.0.state.lock().views.forget(model),
            DirectoryKey::Override(model) => self.forget_override(model),
            DirectoryKey::Replica { replica, .. } if *replica == self.0.replica => false,
            DirectoryKey::Replica { replica, model } => self.0.state.lock().replicas.remove(replica, Some(model)),
        };
        self.notify(changed);
    }

    /// Notifies of a change if a replica has expired since the last call.
    pub(crate) fn sweep(&self) {
        let changed = self.0.state.lock().replicas.sweep(Instant::now());
        self.notify(changed);
    }

    /// Whether the topic can be read; while it cannot, no replica expires.
    pub(crate) fn connected(&self, connected: bool) {
        self.0.state.lock().replicas.connected(connected, Instant::now());
    }

    /// The directory is kept equal to a topic.
    pub(crate) fn on_topic(&self) {
        self.0.state.lock().on_topic = true;
    }

    /// Sets whether everything that was on the topic at the start has been read; until then nothing is written.
    pub(crate) fn caught_up(&self, caught_up: bool) {
        self.0.state.lock().caught_up = caught_up;
        self.notify(true);
    }

    /// The records to write now. A view is returned once, states every time.
    pub(crate) fn outgoing(&self) -> Outgoing {
        let mut state = self.0.state.lock();
        if !state.caught_up {
            return Outgoing::default();
        }
        let views = state.views.take_unwritten().into_iter();
        let views = views.map(|(model, view)| (DirectoryKey::View(model), view.map(|view| view.encode_to_vec())));
        let (states, dead) = (state.replicas.own(), state.replicas.take_dead(Instant::now()));
        let dead = dead.into_iter().map(|(model, replica)| DirectoryKey::Replica { replica, model }).collect();
        let overrides = self.0.overrides.write().take_unwritten();
        Outgoing { views: views.collect(), states, overrides, dead }
    }

    /// Marks what this process keeps on the topic to be written again, which restores one that was deleted and created again.
    pub(crate) fn repeat_records(&self) {
        self.0.state.lock().views.repeat();
        self.0.overrides.write().repeat();
    }

    fn notify(&self, changed: bool) {
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

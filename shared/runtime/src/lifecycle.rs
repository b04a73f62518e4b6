//! Components, readiness, liveness and the phases of an orderly end.

mod component;
mod fence;
mod signals;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

pub use component::Component;
pub use fence::Fence;
pub(crate) use signals::watch_signals;

/// Where the process is between start and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Taking work, as far as its components are ready.
    Running,
    /// Not ready any more, finishing what it has.
    Draining,
}

/// A component as the health endpoints report it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentState {
    /// As it was registered.
    pub name: String,
    /// Why it is not ready; none when it is.
    pub unready: Option<String>,
    /// True when it was silent for longer than it promised.
    pub stalled: bool,
}

#[derive(Debug)]
struct Entry {
    name: String,
    unready: Option<String>,
    watch: Option<Duration>,
    beaten: Instant,
}

#[derive(Debug)]
struct State {
    next: u64,
    components: BTreeMap<u64, Entry>,
    failure: Option<String>,
    starting: bool,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    phase: watch::Sender<Phase>,
}

/// The life of the process. Clones share it.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    inner: Arc<Inner>,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

impl Lifecycle {
    /// A running process without components.
    pub fn new() -> Self {
        let state = State { next: 0, components: BTreeMap::new(), failure: None, starting: false };
        Self { inner: Arc::new(Inner { state: Mutex::new(state), phase: watch::Sender::new(Phase::Running) }) }
    }

    /// Adds a component, not ready yet. The name says what it is: `"kafka source forebay.features"`.
    pub fn register(&self, name: impl Into<String>) -> Component {
        let mut state = self.inner.state.lock();
        let id = state.next;
        state.next += 1;
        let unready = Some("starting".to_owned());
        state.components.insert(id, Entry { name: name.into(), unready, watch: None, beaten: Instant::now() });
        Component::new(self.clone(), id)
    }

    /// Ends the process in order because something is broken; its exit code will be 1. The first reason is kept.
    pub fn fail(&self, why: impl Into<String>) {
        let why = why.into();
        tracing::error!(why, "the process goes down");
        self.record_failure(why);
    }

    /// A component went away. While the system is being wired that is most often the consequence of an error that is
    /// about to be told; the loud line would then point away from the cause.
    fn died(&self, why: String, panicked: bool) {
        if panicked || !self.inner.state.lock().starting {
            return self.fail(why);
        }
        tracing::info!(why, "a component ended during the start");
        self.record_failure(why);
    }

    fn record_failure(&self, why: String) {
        self.inner.state.lock().failure.get_or_insert(why);
        self.inner.phase.send_replace(Phase::Draining);
    }

    /// Tells whether the system is being wired.
    pub(crate) fn set_starting(&self, starting: bool) {
        self.inner.state.lock().starting = starting;
    }

    /// Ends the process in order because it was asked to.
    pub fn shutdown(&self, why: &str) {
        if self.is_draining() {
            return;
        }
        tracing::info!(why, "shutting down");
        self.inner.phase.send_replace(Phase::Draining);
    }

    /// Where the process is.
    pub fn phase(&self) -> Phase {
        *self.inner.phase.borrow()
    }

    /// True from the first word of the end.
    pub fn is_draining(&self) -> bool {
        self.phase() == Phase::Draining
    }

    /// Waits for the end to begin. Any number of tasks may wait, on any runtime.
    pub async fn draining(&self) {
        let mut phase = self.inner.phase.subscribe();
        // The sender lives in `self`, so this cannot fail while we wait.
        drop(phase.wait_for(|phase| *phase == Phase::Draining).await);
    }

    /// Why the process failed, if it did.
    pub fn failure(&self) -> Option<String> {
        self.inner.state.lock().failure.clone()
    }

    /// True when every component is ready and the end has not begun.
    pub fn is_ready(&self) -> bool {
        !self.is_draining() && self.inner.state.lock().components.values().all(|entry| entry.unready.is_none())
    }

    /// True unless a component is silent for longer than it promised.
    pub fn is_alive(&self) -> bool {
        let now = Instant::now();
        !self.inner.state.lock().components.values().any(|entry| entry.stalled(now))
    }

    /// All components, in the order they were registered.
    pub fn components(&self) -> Vec<ComponentState> {
        let now = Instant::now();
        let state = self.inner.state.lock();
        let report = |entry: &Entry| ComponentState {
            name: entry.name.clone(),
            unready: entry.unready.clone(),
            stalled: entry.stalled(now),
        };
        state.components.values().map(report).collect()
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.inner.state.lock().components.get_mut(&id) {
            change(entry);
        }
    }

    fn remove(&self, id: u64) -> Option<String> {
        self.inner.state.lock().components.remove(&id).map(|entry| entry.name)
    }
}

impl Entry {
    fn stalled(&self, now: Instant) -> bool {
        self.watch.is_some_and(|watch| now.saturating_duration_since(self.beaten) > watch)
    }
}

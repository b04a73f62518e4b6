//! Components, readiness, liveness and the phases of an orderly shutdown.

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

/// Phases of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The process takes work when all of its components are ready.
    Running,
    /// The process is shutting down: it is no longer ready and finishes the work in flight.
    Draining,
}

/// A component as the health endpoints report it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentState {
    /// The name that it was registered with.
    pub name: String,
    /// Why it is not ready; `None` when it is.
    pub unready: Option<String>,
    /// Whether it missed the interval of beats that it promised.
    pub stalled: bool,
}

#[derive(Debug)]
struct Registered {
    name: String,
    unready: Option<String>,
    watch: Option<Duration>,
    beaten: Instant,
}

#[derive(Debug)]
struct State {
    next: u64,
    components: BTreeMap<u64, Registered>,
    failure: Option<String>,
    starting: bool,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    phase: watch::Sender<Phase>,
}

/// The components and the phase of the process. Clones share them.
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
    /// A lifecycle in [`Phase::Running`] without components.
    pub fn new() -> Self {
        let state = State { next: 0, components: BTreeMap::new(), failure: None, starting: false };
        Self { inner: Arc::new(Inner { state: Mutex::new(state), phase: watch::Sender::new(Phase::Running) }) }
    }

    /// Adds a component, which is not ready yet. The name says what it is: `"kafka source forebay.features"`.
    pub fn register(&self, name: impl Into<String>) -> Component {
        let mut state = self.inner.state.lock();
        let id = state.next;
        state.next += 1;
        let unready = Some("starting".to_owned());
        state.components.insert(id, Registered { name: name.into(), unready, watch: None, beaten: Instant::now() });
        Component::new(self.clone(), id)
    }

    /// Shuts the process down because of a failure; its exit code will be 1. The first reason is kept.
    pub fn fail(&self, why: impl Into<String>) {
        let why = why.into();
        tracing::error!(why, "shutting down because of a failure");
        self.record_failure(why);
    }

    /// A component was dropped. While the system is being wired, that is most often the consequence of an error that is
    /// about to be reported; an error line here would point away from the cause.
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

    /// Sets whether the system is being wired.
    pub(crate) fn set_starting(&self, starting: bool) {
        self.inner.state.lock().starting = starting;
    }

    /// Shuts the process down on request.
    pub fn shutdown(&self, why: &str) {
        if self.is_draining() {
            return;
        }
        tracing::info!(why, "shutting down");
        self.inner.phase.send_replace(Phase::Draining);
    }

    /// The phase of the process.
    pub fn phase(&self) -> Phase {
        *self.inner.phase.borrow()
    }

    /// Whether the shutdown has begun.
    pub fn is_draining(&self) -> bool {
        self.phase() == Phase::Draining
    }

    /// Waits for the shutdown to begin. Any number of tasks may wait, on any runtime.
    pub async fn draining(&self) {
        let mut phase = self.inner.phase.subscribe();
        // The sender lives in `self`, so this cannot fail while we wait.
        drop(phase.wait_for(|phase| *phase == Phase::Draining).await);
    }

    /// The reason of the failure, if there was one.
    pub fn failure(&self) -> Option<String> {
        self.inner.state.lock().failure.clone()
    }

    /// Whether every component is ready and the shutdown has not begun.
    pub fn is_ready(&self) -> bool {
        !self.is_draining() && self.inner.state.lock().components.values().all(|entry| entry.unready.is_none())
    }

    /// Whether no component has stalled.
    pub fn is_alive(&self) -> bool {
        let now = Instant::now();
        !self.inner.state.lock().components.values().any(|entry| entry.stalled(now))
    }

    /// All components, in the order of registration.
    pub fn components(&self) -> Vec<ComponentState> {
        let now = Instant::now();
        let state = self.inner.state.lock();
        let report = |entry: &Registered| ComponentState {
            name: entry.name.clone(),
            unready: entry.unready.clone(),
            stalled: entry.stalled(now),
        };
        state.components.values().map(report).collect()
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Registered)) {
        if let Some(entry) = self.inner.state.lock().components.get_mut(&id) {
            change(entry);
        }
    }

    fn remove(&self, id: u64) -> Option<String> {
        self.inner.state.lock().components.remove(&id).map(|entry| entry.name)
    }
}

impl Registered {
    fn stalled(&self, now: Instant) -> bool {
        self.watch.is_some_and(|watch| now.saturating_duration_since(self.beaten) > watch)
    }
}

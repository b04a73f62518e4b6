//! The components of a process, whether they are ready, whether its loops turn, and the phases of an orderly end.

mod component;
mod fence;
mod heartbeat;
mod signals;
mod stalls;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

pub use component::Component;
pub use fence::Fence;
pub use heartbeat::{Heartbeat, LONGEST_UNMARKED_WAIT, Waiting};
pub(crate) use signals::watch_signals;
use stalls::Stalls;

/// Bound of a process that sets none with [`Lifecycle::watch_stalls`].
const STALL_AFTER: Duration = Duration::from_secs(30);

/// Where the process is between start and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It takes work as far as its components are ready.
    Running,
    /// It takes no more work and finishes what it has.
    Draining,
}

/// A component as the health endpoints report it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComponentState {
    /// The name it was registered with.
    pub name: String,
    /// Why it is not ready; `None` when it is.
    pub unready: Option<String>,
}

#[derive(Debug)]
struct Registered {
    name: String,
    unready: Option<String>,
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
    stalls: Stalls,
}

/// The life of the process, from its start to its end. Clones share it.
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
        let (state, phase) = (Mutex::new(state), watch::Sender::new(Phase::Running));
        Self { inner: Arc::new(Inner { state, phase, stalls: Stalls::new(STALL_AFTER) }) }
    }

    /// Adds a component that is not ready yet. The name says what it is: `"kafka source forebay.features"`.
    pub fn register(&self, name: impl Into<String>) -> Component {
        let mut state = self.inner.state.lock();
        let id = state.next;
        state.next += 1;
        let unready = Some("starting".to_owned());
        state.components.insert(id, Registered { name: name.into(), unready });
        Component::new(self.clone(), id)
    }

    /// Watches a loop that has no component. [`Component::heartbeat`] is the way for those that have one.
    pub fn heartbeat(&self, name: impl Into<String>) -> Heartbeat {
        self.inner.stalls.heartbeat(name.into())
    }

    /// Starts the thread that looks for loops without a beat for longer than `bound`. It ends with the last clone of
    /// this lifecycle. While the process drains nothing new counts as stalled: the drain has its own deadline.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn watch_stalls(&self, bound: Duration) -> std::io::Result<()> {
        self.inner.stalls.set_bound(bound);
        let tick = |inner: &Inner, gap| {
            if *inner.phase.borrow() == Phase::Running {
                inner.stalls.tick(gap);
            }
        };
        stalls::spawn(Arc::downgrade(&self.inner), tick, |inner| inner.stalls.interval())
    }

    /// Names of the components of which a loop stalls.
    pub fn stalled(&self) -> Vec<String> {
        self.inner.stalls.names()
    }

    /// Begins an orderly end because something is broken; the exit code will be 1. The first reason is kept.
    pub fn fail(&self, why: impl Into<String>) {
        let why = why.into();
        tracing::error!(why, "shutting down because of a failure");
        self.record_failure(why);
    }

    /// A component is gone. While the system is being wired this is usually the consequence of an error that is about
    /// to be reported, and an error line would point away from the cause.
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

    /// Notes whether the system is being wired.
    pub(crate) fn set_starting(&self, starting: bool) {
        self.inner.state.lock().starting = starting;
    }

    /// Begins an orderly end because it was requested.
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

    /// True from the moment the end begins.
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

    /// True unless a loop stalls.
    pub fn is_alive(&self) -> bool {
        self.stalled().is_empty()
    }

    /// All components, in the order they were registered.
    pub fn components(&self) -> Vec<ComponentState> {
        let state = self.inner.state.lock();
        let report = |entry: &Registered| ComponentState { name: entry.name.clone(), unready: entry.unready.clone() };
        state.components.values().map(report).collect()
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Registered)) {
        if let Some(entry) = self.inner.state.lock().components.get_mut(&id) {
            change(entry);
        }
    }

    fn name(&self, id: u64) -> String {
        self.inner.state.lock().components.get(&id).map(|entry| entry.name.clone()).unwrap_or_default()
    }

    fn remove(&self, id: u64) -> Option<String> {
        self.inner.state.lock().components.remove(&id).map(|entry| entry.name)
    }
}

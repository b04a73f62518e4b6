//! What a loop does to show that it still turns.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Longest time between two beats of an idle loop.
const LONGEST_INTERVAL: Duration = Duration::from_secs(1);

/// Longest time for which a loop may block without marking it with [`Heartbeat::waiting`]: what one call to a broker is
/// given. `admin.stall_after` may not be shorter than twice this time.
pub const LONGEST_UNMARKED_WAIT: Duration = Duration::from_secs(5);

/// Held by a loop: an actor's arbiter, a thread, a task. A beat says that the loop turns, not that work flows. A loop
/// that does not beat for `admin.stall_after` makes `/health/live` fail. Clones beat for the same loop; when the last
/// one is dropped the loop is no longer watched.
#[derive(Clone)]
pub struct Heartbeat(Arc<Loop>);

/// A loop as the watch sees it.
pub(super) struct Loop {
    name: String,
    interval: Duration,
    beats: AtomicU64,
    /// Milliseconds that the loop may be silent beyond the bound, because it waits for something.
    allowance_ms: AtomicU64,
}

impl Heartbeat {
    pub(super) fn new(name: String, stall_after: Duration) -> Self {
        let interval = (stall_after / 8).clamp(Duration::from_millis(1), LONGEST_INTERVAL);
        Self(Arc::new(Loop { name, interval, beats: AtomicU64::new(0), allowance_ms: AtomicU64::new(0) }))
    }

    /// A heartbeat that nothing watches, for a loop that runs outside a process of the mesh.
    pub fn unwatched() -> Self {
        Self::new(String::new(), LONGEST_INTERVAL)
    }

    /// The loop turns. Costs one atomic addition, so a loop may call it at every turn.
    pub fn beat(&self) {
        self.0.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// How often an idle loop has to beat: much more often than the bound, and at least once a second.
    pub fn interval(&self) -> Duration {
        self.0.interval
    }

    /// Marks a wait: until the guard is dropped the loop may be silent for `bound` longer than usual. `bound` has to
    /// exceed every wait that the code under the guard can do.
    #[must_use = "the wait ends when the guard is dropped"]
    pub fn waiting(&self, bound: Duration) -> Waiting<'_> {
        self.beat();
        let bound = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
        let before = self.0.allowance_ms.fetch_max(bound, Ordering::Relaxed);
        Waiting { heartbeat: self, before }
    }

    /// Beats for as long as the executor turns the task that awaits this. An actor spawns it as a task of its own on its
    /// arbiter: an interval of the actor's context would be polled with every message.
    pub async fn beat_from_task(self) {
        loop {
            self.beat();
            tokio::time::sleep(self.interval()).await;
        }
    }

    pub(super) fn watched(&self) -> &Arc<Loop> {
        &self.0
    }
}

impl fmt::Debug for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heartbeat").field("name", &self.0.name).finish_non_exhaustive()
    }
}

/// A wait that a loop has marked with [`Heartbeat::waiting`].
#[derive(Debug)]
pub struct Waiting<'h> {
    heartbeat: &'h Heartbeat,
    before: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // first the beat: the wait itself must not count against the usual bound
        self.heartbeat.beat();
        self.heartbeat.0.allowance_ms.store(self.before, Ordering::Relaxed);
    }
}

impl Loop {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    pub(super) fn allowance(&self) -> Duration {
        Duration::from_millis(self.allowance_ms.load(Ordering::Relaxed))
    }
}

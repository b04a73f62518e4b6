//! One part of the process that can be ready, finished or dead.

use super::{Heartbeat, Lifecycle};

/// Held by the part itself. Dropping it while the process runs, without [`Component::finished`], means that the part
/// has died (a panic, a task that returned): the process then ends with an error instead of running on with a part
/// missing.
#[derive(Debug)]
#[must_use = "dropping a component means that it died"]
pub struct Component {
    lifecycle: Lifecycle,
    id: u64,
    finished: bool,
}

impl Component {
    pub(super) fn new(lifecycle: Lifecycle, id: u64) -> Self {
        Self { lifecycle, id, finished: false }
    }

    /// Watches a loop of this component under its name.
    pub fn heartbeat(&self) -> Heartbeat {
        self.lifecycle.heartbeat(self.lifecycle.name(self.id))
    }

    /// The component can do its work.
    pub fn ready(&self) {
        self.lifecycle.change(self.id, |entry| {
            if let Some(why) = entry.unready.take() {
                tracing::info!(component = entry.name, was = why, "component is ready");
            }
        });
    }

    /// The component cannot do its work now. `/health/ready` shows the reason, and the log does when it is a new one.
    pub fn unready(&self, why: impl Into<String>) {
        let why = why.into();
        self.lifecycle.change(self.id, |entry| {
            if entry.unready.as_deref() != Some(&why) {
                tracing::warn!(component = entry.name, why, "component is not ready");
                entry.unready = Some(why);
            }
        });
    }

    /// The component has ended as planned.
    pub fn finished(mut self) {
        self.finished = true;
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        let name = self.lifecycle.remove(self.id).unwrap_or_default();
        if !self.finished && !self.lifecycle.is_draining() {
            let panicked = std::thread::panicking();
            let how = if panicked { "panicked" } else { "ended unexpectedly" };
            self.lifecycle.died(format!("{name} {how}"), panicked);
        }
    }
}

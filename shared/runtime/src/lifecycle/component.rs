//! One part of the process, which can be ready, stalled, finished or dead.

use std::time::{Duration, Instant};

use super::Lifecycle;

/// A handle that the part itself holds. When it is dropped while the process runs, without [`Component::finished`], the
/// part has died (a panic, a task that returned): the process then shuts down instead of running on without it.
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

    /// Promises a [`Component::beat`] at least this often; liveness fails when it is missing.
    pub fn stall_after(self, silence: Duration) -> Self {
        self.lifecycle.change(self.id, |entry| {
            entry.watch = Some(silence);
            entry.beaten = Instant::now();
        });
        self
    }

    /// Marks the component as ready.
    pub fn ready(&self) {
        self.lifecycle.change(self.id, |entry| {
            if let Some(why) = entry.unready.take() {
                tracing::info!(component = entry.name, was = why, "component is ready");
            }
        });
    }

    /// Marks the component as not ready. `/health/ready` shows the reason; a reason that differs from the last one is
    /// logged.
    pub fn unready(&self, why: impl Into<String>) {
        let why = why.into();
        self.lifecycle.change(self.id, |entry| {
            if entry.unready.as_deref() != Some(&why) {
                tracing::warn!(component = entry.name, why, "component is not ready");
                entry.unready = Some(why);
            }
        });
    }

    /// It still turns.
    pub fn beat(&self) {
        self.lifecycle.change(self.id, |entry| entry.beaten = Instant::now());
    }

    /// Ends the component as planned.
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

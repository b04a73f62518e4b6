//! One part of the process that can be ready, silent, finished or dead.

use std::time::{Duration, Instant};

use super::Lifecycle;

/// Held by the part itself. Dropped while the process runs, without [`Component::finished`], it means that the part
/// died (a panic, a task that returned): the process then goes down visibly instead of living on half dead.
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

    /// It can do its work.
    pub fn ready(&self) {
        self.lifecycle.change(self.id, |entry| {
            if let Some(why) = entry.unready.take() {
                tracing::info!(component = entry.name, was = why, "component is ready");
            }
        });
    }

    /// It cannot do its work now. The reason is shown by `/health/ready` and, when it is a new one, logged.
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

    /// It ended as planned.
    pub fn finished(mut self) {
        self.finished = true;
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        let name = self.lifecycle.remove(self.id).unwrap_or_default();
        if !self.finished && !self.lifecycle.is_draining() {
            let panicked = std::thread::panicking();
            let how = if panicked { "panicked" } else { "ended unasked" };
            self.lifecycle.died(format!("{name} {how}"), panicked);
        }
    }
}

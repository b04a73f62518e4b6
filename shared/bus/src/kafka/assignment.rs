//! The partitions that a stage is assigned on the topic it consumes, for the readers of the same
//! partitions and the hooks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use super::assigned_consumer::AssignedConsumer;
use super::source::{OnAssigned, OnLeaving};

type Hook = Box<dyn Fn() + Send>;

/// Shared by a stage's source, its assigned consumers and its hooks.
#[derive(Clone, Default)]
pub(super) struct Assignment {
    assigned_consumers: Arc<Mutex<Vec<AssignedConsumer>>>,
    on_revoke: Arc<Mutex<Vec<Hook>>>,
    /// Partitions that are assigned, plus one; 0 before the first assignment.
    assigned: Arc<AtomicU32>,
}

impl Assignment {
    /// From the next assignment on, `assigned_consumer` reads the same partitions of its topic.
    pub(super) fn add_consumer(&self, assigned_consumer: AssignedConsumer) {
        self.assigned_consumers.lock().push(assigned_consumer);
    }

    /// Calls `hook` when partitions are about to leave.
    pub(super) fn on_revoke(&self, hook: impl Fn() + Send + 'static) {
        self.on_revoke.lock().push(Box::new(hook));
    }

    /// Number of partitions that are assigned; `None` before the first assignment.
    pub(super) fn assigned(&self) -> Option<u32> {
        self.assigned.load(Ordering::Relaxed).checked_sub(1)
    }

    /// The hooks of the source.
    pub(super) fn hooks(&self) -> (OnAssigned, OnLeaving) {
        let (assigned, revoked) = (self.clone(), self.clone());
        let on_assigned = move |partitions: &[i32]| {
            let count = u32::try_from(partitions.len()).unwrap_or(u32::MAX);
            assigned.assigned.store(count.saturating_add(1), Ordering::Relaxed);
            for assigned_consumer in assigned.assigned_consumers.lock().iter() {
                if let Err(error) = assigned_consumer.assign(partitions) {
                    // advisory: requests that wait for these partitions are predicted themselves
                    tracing::warn!(%error, "advisory topic cannot be assigned");
                }
            }
        };
        let on_leaving = move || revoked.on_revoke.lock().iter().for_each(|hook| hook());
        (Arc::new(on_assigned), Arc::new(on_leaving))
    }
}

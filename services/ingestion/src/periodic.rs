//! Repeated work on threads that may block.

use std::sync::Arc;
use std::time::Duration;

use forebay_runtime::Lifecycle;

/// Calls `task` after each `interval` until the process drains, as the component `name`. A panic in `task` ends the
/// process, as the death of any component does. Must be called on a tokio runtime.
pub(crate) fn every(interval: Duration, lifecycle: &Lifecycle, name: &str, task: impl Fn() + Send + Sync + 'static) {
    let (component, lifecycle, task) = (lifecycle.register(name), lifecycle.clone(), Arc::new(task));
    component.ready();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = lifecycle.draining() => break,
                () = tokio::time::sleep(interval) => {}
            }
            let task = Arc::clone(&task);
            if tokio::task::spawn_blocking(move || task()).await.is_err() {
                return;
            }
        }
        component.finished();
    });
}

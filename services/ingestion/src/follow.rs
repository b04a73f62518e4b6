//! Looks at something again and again, on threads that may block.

use std::sync::Arc;
use std::time::Duration;

use forebay_runtime::Lifecycle;

/// Calls `look` after each `pause`, until the process drains. A panic in it ends the process visibly, as the death of any
/// component does. Must be called on a tokio runtime.
pub(crate) fn every(pause: Duration, lifecycle: &Lifecycle, name: &str, look: impl Fn() + Send + Sync + 'static) {
    let (component, lifecycle, look) = (lifecycle.register(name), lifecycle.clone(), Arc::new(look));
    component.ready();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = lifecycle.draining() => break,
                () = tokio::time::sleep(pause) => {}
            }
            let look = Arc::clone(&look);
            if tokio::task::spawn_blocking(move || look()).await.is_err() {
                return;
            }
        }
        component.finished();
    });
}

//! Handles SIGTERM and SIGINT on a separate thread: a blocked main thread must not make the process unstoppable.

use std::thread;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::Lifecycle;

/// Time after the drain deadline for telemetry and the exit itself, before this thread ends the process.
const GRACE: Duration = Duration::from_secs(8);

/// Starts the thread. The first signal begins an orderly end. A second signal ends the process at once with code 1; so
/// does a main thread that is not done within `drain` and a grace period.
///
/// # Errors
/// When the thread, its runtime or the signal handlers cannot be set up.
pub(crate) fn watch_signals(lifecycle: &Lifecycle, drain: Duration) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt) = {
        let _entered = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    let lifecycle = lifecycle.clone();
    thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => lifecycle.shutdown("SIGTERM"),
                _ = interrupt.recv() => lifecycle.shutdown("SIGINT"),
                () = lifecycle.draining() => {}
            }
            let why = tokio::select! {
                _ = terminate.recv() => "a second signal",
                _ = interrupt.recv() => "a second signal",
                () = tokio::time::sleep(drain + GRACE) => "the main thread did not exit in time",
            };
            tracing::error!(why, "exiting at once");
            std::process::exit(1);
        });
    })?;
    Ok(())
}

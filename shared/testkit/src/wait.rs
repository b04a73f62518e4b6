//! Waiting for what another thread or process does.

use std::time::{Duration, Instant};

const STEP: Duration = Duration::from_millis(10);

/// Waits, in small steps, until `done`.
///
/// # Panics
/// When it is not done `within` this time; the message says `what` was waited for.
#[track_caller]
pub fn wait_until(within: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !done() {
        assert!(Instant::now() < deadline, "waited {within:?} in vain for {what}");
        std::thread::sleep(STEP);
    }
}

/// As [`wait_until`], without blocking the executor.
///
/// # Panics
/// As [`wait_until`].
pub async fn wait_until_async(within: Duration, what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !done().await {
        assert!(Instant::now() < deadline, "waited {within:?} in vain for {what}");
        tokio::time::sleep(STEP).await;
    }
}

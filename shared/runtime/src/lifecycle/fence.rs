//! Ends a process that was paused for too long: other replicas have taken over its partitions in the meantime.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Exit code of a fenced process (EX_SOFTWARE).
pub(crate) const EXIT_FENCED: i32 = 70;

/// A thread that compares the clock with its own ticks. Dropping the fence ends the thread.
#[derive(Debug)]
pub struct Fence {
    _stop: Sender<()>,
}

impl Fence {
    /// Ends the process with code 70 when a pause (SIGSTOP, a freezer, a starved machine) takes longer than half of
    /// `session_timeout`: by then a rebalance may be under way, and what this process still sends would arrive twice.
    /// There is no drain, because anything the process still did could conflict with the new owner of its partitions.
    pub fn arm(session_timeout: Duration) -> Self {
        Self::with(session_timeout / 2, |gap| {
            let gap_ms = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
            tracing::error!(gap_ms, "the process was paused for too long: exiting");
            std::process::exit(EXIT_FENCED);
        })
    }

    fn with(limit: Duration, fenced: impl Fn(Duration) + Send + 'static) -> Self {
        let (stop, stopped) = channel::<()>();
        let tick = (limit / 8).clamp(Duration::from_millis(1), Duration::from_millis(250));
        // taken here and not on the thread, so that a pause before its first tick counts as well
        let mut before = Instant::now();
        let run = move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(tick) {
                let now = Instant::now();
                let gap = now.saturating_duration_since(before);
                if gap > limit {
                    fenced(gap);
                }
                before = now;
            }
        };
        if let Err(error) = thread::Builder::new().name("fence".into()).spawn(run) {
            tracing::error!(%error, "the fence could not be started, a paused process will not end itself");
        }
        Self { _stop: stop }
    }
}

//! Records that wait for their next attempt.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use forebay_runtime::Heartbeat;
use rdkafka::message::OwnedMessage;

use super::context::Sent;

/// A record that waits for its next attempt. The one that is due first is the greatest.
pub(super) struct Retry {
    pub(super) due: Instant,
    pub(super) record: OwnedMessage,
    pub(super) sent: Box<Sent>,
}

impl Ord for Retry {
    fn cmp(&self, other: &Self) -> Ordering {
        other.due.cmp(&self.due)
    }
}

impl PartialOrd for Retry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Retry {}

impl PartialEq for Retry {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

/// Hands every record to `resend` when it is due, until the producer is gone.
pub(super) fn resend_loop(retries: &Receiver<Retry>, heartbeat: &Heartbeat, resend: &dyn Fn(Retry)) {
    let mut waiting: BinaryHeap<Retry> = BinaryHeap::new();
    loop {
        heartbeat.beat();
        let now = Instant::now();
        while waiting.peek().is_some_and(|first| first.due <= now)
            && let Some(first) = waiting.pop()
        {
            resend(first);
        }
        let left = waiting.peek().map(|first| first.due.saturating_duration_since(Instant::now()));
        match retries.recv_timeout(left.unwrap_or(heartbeat.interval()).min(heartbeat.interval())) {
            Ok(retry) => {
                waiting.push(retry);
                waiting.extend(retries.try_iter());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

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
    pub(super) attempt: Attempt,
}

/// What is tried next with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// To send it again.
    Send,
    /// To find out whether it stands in its topic.
    LookUp,
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

/// Hands the records that are due to `retry`, until the producer is gone.
pub(super) fn resend_loop(retries: &Receiver<Retry>, heartbeat: &Heartbeat, retry: &dyn Fn(Vec<Retry>)) {
    let mut waiting: BinaryHeap<Retry> = BinaryHeap::new();
    loop {
        heartbeat.beat();
        let now = Instant::now();
        let mut due = Vec::new();
        while waiting.peek().is_some_and(|first| first.due <= now) {
            due.extend(waiting.pop());
        }
        if !due.is_empty() {
            retry(due);
        }
        let left = waiting.peek().map(|first| first.due.saturating_duration_since(Instant::now()));
        match retries.recv_timeout(left.unwrap_or(heartbeat.interval()).min(heartbeat.interval())) {
            Ok(later) => {
                waiting.push(later);
                waiting.extend(retries.try_iter());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

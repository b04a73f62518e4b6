//! The requests of a connection: when it is idle, and when its client takes no answer.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Shortest pause between two looks at the requests of a connection.
const SHORTEST_LOOK: Duration = Duration::from_millis(10);

/// The requests of one connection. Clones share the count.
#[derive(Clone, Default)]
pub(super) struct InWork(Rc<Count>);

struct Count {
    now: Cell<usize>,
    any_yet: Cell<bool>,
    /// When the last one began or ended.
    changed: Cell<Instant>,
    /// Answers that are being sent, and when a piece of one was last taken.
    sending: Cell<usize>,
    taken: Cell<Instant>,
}

impl Default for Count {
    fn default() -> Self {
        let (changed, taken) = (Cell::new(Instant::now()), Cell::new(Instant::now()));
        Self { now: Cell::new(0), any_yet: Cell::new(false), changed, sending: Cell::new(0), taken }
    }
}

impl InWork {
    pub(super) fn begin(&self) -> Counted {
        self.0.now.set(self.0.now.get() + 1);
        self.0.any_yet.set(true);
        self.0.changed.set(Instant::now());
        Counted(self.clone())
    }

    /// Waits until there has been no request for `first`, or for `next` after the first one.
    pub(super) async fn idle_for(&self, (first, next): (Duration, Duration)) {
        loop {
            let limit = if self.0.any_yet.get() { next } else { first };
            let since = self.0.changed.get().elapsed();
            match self.0.now.get() {
                0 if since >= limit => return,
                0 => tokio::time::sleep(limit - since).await,
                // it is looked again when one may have ended long enough ago
                _ => tokio::time::sleep(limit.max(SHORTEST_LOOK)).await,
            }
        }
    }

    /// Waits until no piece of any answer was taken for `longest`, while there was one to take.
    pub(super) async fn stalled_for(&self, longest: Duration) {
        loop {
            let since = self.0.taken.get().elapsed();
            if self.0.sending.get() == 0 {
                tokio::time::sleep(longest).await;
            } else if since >= longest {
                return;
            } else {
                tokio::time::sleep(longest - since).await;
            }
        }
    }

    /// An answer of the connection is being sent until what is returned is dropped.
    fn begin_sending(&self) -> Sending {
        if self.0.sending.replace(self.0.sending.get() + 1) == 0 {
            self.0.taken.set(Instant::now());
        }
        Sending(self.clone())
    }
}

/// An answer that is being sent, until it is dropped.
pub(super) struct Sending(InWork);

impl Sending {
    pub(super) fn taken(&self) {
        self.0.0.taken.set(Instant::now());
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let sending = &self.0.0.sending;
        sending.set(sending.get().saturating_sub(1));
    }
}

/// A request in work, until it is dropped.
pub(super) struct Counted(InWork);

impl Counted {
    /// The answer to the request is being sent until what is returned is dropped.
    pub(super) fn begin_sending(&self) -> Sending {
        self.0.begin_sending()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let count = &self.0.0;
        count.now.set(count.now.get().saturating_sub(1));
        count.changed.set(Instant::now());
    }
}

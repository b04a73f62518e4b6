//! Wakes threads that sleep between two looks at something.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

type Told = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
struct Inner {
    calls: Mutex<u64>,
    called: Condvar,
    sleepers: AtomicUsize,
    told: Mutex<Vec<Told>>,
}

/// Says "look now" to everyone who listens. Clones share it. A call between two sleeps is not lost.
#[derive(Clone, Default)]
pub struct Notifier(Arc<Inner>);

impl Notifier {
    /// Nobody listens yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes everyone. Callbacks run on this thread.
    pub fn notify(&self) {
        *self.0.calls.lock() += 1;
        self.0.called.notify_all();
        let told = self.0.told.lock().clone();
        told.iter().for_each(|told| told());
    }

    /// Calls `told` on every call from now on; it must not block.
    pub fn on_notify(&self, told: impl Fn() + Send + Sync + 'static) {
        self.0.told.lock().push(Arc::new(told));
    }

    /// Listens from now on, from a thread of its own.
    pub fn listen(&self) -> NotificationReceiver {
        self.0.sleepers.fetch_add(1, Ordering::AcqRel);
        let seen = *self.0.calls.lock();
        NotificationReceiver { notifier: self.clone(), seen }
    }

    /// Whether anyone listens.
    pub fn is_heard(&self) -> bool {
        self.0.sleepers.load(Ordering::Acquire) > 0 || !self.0.told.lock().is_empty()
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").field("is_heard", &self.is_heard()).finish_non_exhaustive()
    }
}

/// One who listens to a [`Notifier`].
#[derive(Debug)]
pub struct NotificationReceiver {
    notifier: Notifier,
    seen: u64,
}

impl NotificationReceiver {
    /// Sleeps until woken, at most for `limit`; true when there was a call since the last sleep. Several calls are one.
    pub fn sleep(&mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut calls = self.notifier.0.calls.lock();
        while *calls == self.seen {
            if self.notifier.0.called.wait_until(&mut calls, until).timed_out() {
                break;
            }
        }
        let woken = *calls != self.seen;
        self.seen = *calls;
        woken
    }
}

impl Drop for NotificationReceiver {
    fn drop(&mut self) {
        self.notifier.0.sleepers.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listener_hears_a_call_once_also_one_made_while_it_was_awake() {
        let notifier = Notifier::new();
        assert!(!notifier.is_heard());
        let (mut one, mut two) = (notifier.listen(), notifier.listen());
        notifier.notify();
        notifier.notify();
        for sleeper in [&mut one, &mut two] {
            assert!(sleeper.sleep(Duration::ZERO));
            assert!(!sleeper.sleep(Duration::ZERO));
        }
        drop((one, two));
        assert!(!notifier.is_heard());
        notifier.on_notify(|| {});
        assert!(notifier.is_heard());
    }

    #[test]
    fn a_sleeper_wakes_before_its_time() {
        let notifier = Notifier::new();
        let mut sleeper = notifier.listen();
        let caller = std::thread::spawn(move || notifier.notify());
        assert!(sleeper.sleep(Duration::from_secs(20)));
        caller.join().unwrap();
    }
}

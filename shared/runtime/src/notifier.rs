//! Notifies subscribers of changes, for example of the model registry.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

type Callback = Arc<dyn Fn() + Send + Sync>;

/// A list of callbacks to run on every change. Clones share it.
#[derive(Clone, Default)]
pub struct Notifier(Arc<Mutex<Vec<Callback>>>);

impl Notifier {
    /// A notifier without subscribers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs every callback on this thread.
    pub fn notify(&self) {
        let callbacks = self.0.lock().clone();
        callbacks.iter().for_each(|callback| callback());
    }

    /// Adds a callback, which stays for good and must not block.
    pub fn on_notify(&self, callback: impl Fn() + Send + Sync + 'static) {
        self.0.lock().push(Arc::new(callback));
    }

    /// Whether there is a callback.
    pub fn has_subscribers(&self) -> bool {
        !self.0.lock().is_empty()
    }
}

impl fmt::Debug for Notifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notifier").field("subscribers", &self.0.lock().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn every_subscriber_is_called_on_every_change() {
        let notifier = Notifier::new();
        assert!(!notifier.has_subscribers());
        let calls = Arc::new(AtomicUsize::new(0));
        for _ in 0..2 {
            let calls = Arc::clone(&calls);
            notifier.on_notify(move || _ = calls.fetch_add(1, Ordering::Relaxed));
        }
        notifier.clone().notify();
        notifier.notify();
        assert_eq!(calls.load(Ordering::Relaxed), 4);
        assert!(notifier.has_subscribers());
    }
}

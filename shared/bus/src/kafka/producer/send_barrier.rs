//! Tells when everything that was sent before a moment has its delivery report, while other records are still being sent.

use std::sync::{Arc, Weak};

use parking_lot::RwLock;

/// A barrier that records pass on their way to the broker. Clones are the same barrier.
#[derive(Clone, Debug, Default)]
pub(crate) struct SendBarrier(Arc<RwLock<Arc<()>>>);

/// Held by a record until it is settled, or while records are made.
#[derive(Clone, Debug)]
pub struct SendPass {
    /// Alive as long as something holds it.
    _pass: Arc<()>,
}

/// What had passed when the barrier was raised.
#[derive(Debug)]
pub(crate) struct PassedSends(Weak<()>);

impl SendBarrier {
    pub(crate) fn pass(&self) -> SendPass {
        SendPass { _pass: Arc::clone(&self.0.read()) }
    }

    /// What has passed until now.
    pub(crate) fn raise(&self) -> PassedSends {
        let before = std::mem::take(&mut *self.0.write());
        PassedSends(Arc::downgrade(&before))
    }
}

impl PassedSends {
    /// Whether all of it is settled.
    pub(crate) fn are_settled(&self) -> bool {
        self.0.strong_count() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_later_is_not_waited_for() {
        let barrier = SendBarrier::default();
        assert!(barrier.raise().are_settled());
        let (first, second) = (barrier.pass(), barrier.pass());
        let passed = barrier.raise();
        let _later = barrier.pass();
        drop(first);
        assert!(!passed.are_settled());
        drop(second);
        assert!(passed.are_settled());
    }
}

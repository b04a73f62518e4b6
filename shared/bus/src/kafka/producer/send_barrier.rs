//! Tells when everything that was sent before a moment has its delivery report, while other records are still being sent.

use std::sync::{Arc, Weak};

use parking_lot::RwLock;

/// A barrier that records pass on their way to the broker. Clones are the same barrier.
#[derive(Clone, Debug, Default)]
pub(crate) struct SendBarrier(Arc<RwLock<Arc<()>>>);

/// Held by a record until it is settled, and by whoever makes records while it makes them.
#[derive(Clone, Debug)]
pub struct SendPass {
    /// Alive as long as something holds it.
    _pass: Arc<()>,
}

/// What had passed when the barrier was raised, and what came of it.
#[derive(Debug)]
pub(crate) struct PassedSends {
    barrier: SendBarrier,
    before: Weak<()>,
    /// Those who were making records then may have sent them since; this is what passed until they were done.
    made: Option<Weak<()>>,
}

impl SendBarrier {
    pub(crate) fn pass(&self) -> SendPass {
        SendPass { _pass: Arc::clone(&self.0.read()) }
    }

    /// What has passed until now.
    pub(crate) fn raise(&self) -> PassedSends {
        PassedSends { barrier: self.clone(), before: self.next(), made: None }
    }

    /// From now on passes are others.
    fn next(&self) -> Weak<()> {
        Arc::downgrade(&std::mem::take(&mut *self.0.write()))
    }
}

impl PassedSends {
    /// Whether all of it is settled.
    pub(crate) fn are_settled(&mut self) -> bool {
        if self.before.strong_count() > 0 {
            return false;
        }
        let made = self.made.get_or_insert_with(|| self.barrier.next());
        made.strong_count() == 0
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
        let mut passed = barrier.raise();
        drop(first);
        assert!(!passed.are_settled());
        drop(second);
        assert!(passed.are_settled());
        let _later = barrier.pass();
        assert!(passed.are_settled());
    }

    #[test]
    fn what_is_sent_by_those_who_passed_before_is_waited_for() {
        let barrier = SendBarrier::default();
        let making = barrier.pass();
        let mut passed = barrier.raise();
        assert!(!passed.are_settled());
        let record = barrier.pass();
        drop(making);
        assert!(!passed.are_settled(), "the record is on its way");
        let _of_others = barrier.pass();
        drop(record);
        assert!(passed.are_settled());
    }
}

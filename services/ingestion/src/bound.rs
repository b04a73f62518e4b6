//! A limit on something counted: one atomic number, so that nobody waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How much there may be at once. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Bound(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    limit: usize,
    used: AtomicUsize,
}

/// A part of it; dropped, it is free again.
#[derive(Debug)]
pub(crate) struct Held {
    bound: Bound,
    amount: usize,
}

impl Bound {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Shared { limit, used: AtomicUsize::new(0) }))
    }

    pub(crate) fn limit(&self) -> usize {
        self.0.limit
    }

    /// `amount` of it, or nothing when there is less left.
    pub(crate) fn take(&self, amount: usize) -> Option<Held> {
        let mut held = Held { bound: self.clone(), amount: 0 };
        held.grow(amount).then_some(held)
    }
}

impl Held {
    /// Takes more; `false` when there is less left, and then nothing is taken.
    pub(crate) fn grow(&mut self, amount: usize) -> bool {
        let Shared { limit, used } = &*self.bound.0;
        let more = |used: usize| used.checked_add(amount).filter(|used| used <= limit);
        let grown = used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        if grown {
            self.amount += amount;
        }
        grown
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.bound.0.used.fetch_sub(self.amount, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_never_more_than_the_limit() {
        let bound = Bound::new(10);
        let mut held = bound.take(4).unwrap();
        assert!(held.grow(5) && !held.grow(2) && held.grow(1));
        assert!(bound.take(1).is_none() && bound.take(usize::MAX).is_none());
        assert!(bound.take(0).is_some());
        drop(held);
        assert!(bound.take(10).is_some());
    }
}

//! The messages of one connection that are not settled yet.

use std::collections::BTreeMap;

/// A frame that settles messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settlement {
    /// Acknowledges this message, or (`true`) it and every earlier one.
    Ack(u64, bool),
    /// Sends it to the dead-letter exchange.
    Reject(u64),
    /// Returns it to the queue.
    Requeue(u64),
}

/// Unsettled delivery tags. One frame settles a run of them, and a slow one does not delay the others.
#[derive(Debug, Default)]
pub(super) struct UnsettledTags(BTreeMap<u64, bool>);

impl UnsettledTags {
    pub(super) fn begin(&mut self, tag: u64) {
        self.0.insert(tag, false);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `tag` is safe; the next [`UnsettledTags::settlements`] acknowledges it.
    pub(super) fn done(&mut self, tag: u64) {
        if let Some(done) = self.0.get_mut(&tag) {
            *done = true;
        }
    }

    /// `tag` was settled separately.
    pub(super) fn remove(&mut self, tag: u64) {
        self.0.remove(&tag);
    }

    /// The frames that acknowledge the tags whose work is safe.
    pub(super) fn settlements(&mut self) -> Vec<Settlement> {
        let mut settlements = Vec::new();
        let mut run = None;
        while let Some(first) = self.0.first_entry().filter(|entry| *entry.get()) {
            run = Some(*first.key());
            first.remove();
        }
        settlements.extend(run.map(|tag| Settlement::Ack(tag, true)));
        self.0.retain(|tag, done| {
            if *done {
                settlements.push(Settlement::Ack(*tag, false));
            }
            !*done
        });
        settlements
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_run_is_one_frame_and_a_slow_tag_delays_no_other() {
        let mut tags = UnsettledTags::default();
        (1..=6).for_each(|tag| tags.begin(tag));
        [1, 2, 4, 6].into_iter().for_each(|tag| tags.done(tag));
        assert_eq!(
            tags.settlements(),
            [Settlement::Ack(2, true), Settlement::Ack(4, false), Settlement::Ack(6, false)]
        );
        assert!(tags.settlements().is_empty());
        tags.done(3);
        tags.done(5);
        assert_eq!(tags.settlements(), [Settlement::Ack(5, true)]);
        assert!(tags.is_empty());
    }

    #[test]
    fn a_tag_that_was_settled_separately_is_not_settled_again() {
        let mut tags = UnsettledTags::default();
        (1..=3).for_each(|tag| tags.begin(tag));
        tags.remove(2);
        tags.done(1);
        tags.done(2);
        assert_eq!(tags.settlements(), [Settlement::Ack(1, true)], "2 is settled");
        tags.done(3);
        assert_eq!(tags.settlements(), [Settlement::Ack(3, true)]);
    }

    proptest! {
        /// Whatever the order: every tag that is done is settled exactly once, and none that is open is ever covered.
        #[test]
        fn every_tag_is_settled_once(order in Just((1u64..40).collect::<Vec<_>>()).prop_shuffle(), step in 1usize..7) {
            let mut tags = UnsettledTags::default();
            (1..40).for_each(|tag| tags.begin(tag));
            let mut open: std::collections::BTreeSet<u64> = (1..40).collect();
            for chunk in order.chunks(step) {
                chunk.iter().for_each(|tag| tags.done(*tag));
                for settlement in tags.settlements() {
                    let Settlement::Ack(last, run) = settlement else { panic!("{settlement:?}") };
                    let covered: Vec<_> = open.iter().copied().filter(|t| if run { *t <= last } else { *t == last }).collect();
                    prop_assert!(!covered.is_empty());
                    covered.iter().for_each(|tag| { open.remove(tag); });
                }
                let unsettled: Vec<_> = chunk.iter().filter(|tag| open.contains(tag)).collect();
                prop_assert!(unsettled.is_empty(), "not settled: {unsettled:?}");
            }
            prop_assert!(tags.is_empty() && open.is_empty());
        }
    }
}

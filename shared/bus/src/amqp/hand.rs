//! The messages of one connection that are not settled yet.

use std::collections::BTreeMap;

/// What the server is told about messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Forget this one, or (`true`) it and every earlier one.
    Ack(u64, bool),
    /// Give it to the dead-letter exchange.
    Reject(u64),
    /// Give it again.
    Requeue(u64),
}

/// Delivery tags in hand. One frame settles a run of them, and a slow one holds none back.
#[derive(Debug, Default)]
pub(super) struct Hand(BTreeMap<u64, bool>);

impl Hand {
    pub(super) fn begin(&mut self, tag: u64) {
        self.0.insert(tag, false);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `tag` is safe; said with the next [`Hand::words`].
    pub(super) fn done(&mut self, tag: u64) {
        if let Some(done) = self.0.get_mut(&tag) {
            *done = true;
        }
    }

    /// `tag` is settled by a word of its own.
    pub(super) fn leave(&mut self, tag: u64) {
        self.0.remove(&tag);
    }

    /// What is to be said about the tags that are done.
    pub(super) fn words(&mut self) -> Vec<Word> {
        let mut words = Vec::new();
        let mut run = None;
        while let Some(first) = self.0.first_entry().filter(|entry| *entry.get()) {
            run = Some(*first.key());
            first.remove();
        }
        words.extend(run.map(|tag| Word::Ack(tag, true)));
        self.0.retain(|tag, done| {
            if *done {
                words.push(Word::Ack(*tag, false));
            }
            !*done
        });
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_run_is_one_word_and_a_slow_one_holds_none_back() {
        let mut hand = Hand::default();
        (1..=6).for_each(|tag| hand.begin(tag));
        [1, 2, 4, 6].into_iter().for_each(|tag| hand.done(tag));
        assert_eq!(hand.words(), [Word::Ack(2, true), Word::Ack(4, false), Word::Ack(6, false)]);
        assert!(hand.words().is_empty());
        hand.done(3);
        hand.done(5);
        assert_eq!(hand.words(), [Word::Ack(5, true)]);
        assert!(hand.is_empty());
    }

    #[test]
    fn what_left_by_its_own_word_is_not_said_again() {
        let mut hand = Hand::default();
        (1..=3).for_each(|tag| hand.begin(tag));
        hand.leave(2);
        hand.done(1);
        hand.done(2);
        assert_eq!(hand.words(), [Word::Ack(1, true)], "2 is not in hand");
        hand.done(3);
        assert_eq!(hand.words(), [Word::Ack(3, true)]);
    }

    proptest! {
        /// Whatever the order: every tag that is done is said exactly once, and none that is open is ever covered.
        #[test]
        fn every_tag_is_said_once(order in Just((1u64..40).collect::<Vec<_>>()).prop_shuffle(), step in 1usize..7) {
            let mut hand = Hand::default();
            (1..40).for_each(|tag| hand.begin(tag));
            let mut open: std::collections::BTreeSet<u64> = (1..40).collect();
            for tags in order.chunks(step) {
                tags.iter().for_each(|tag| hand.done(*tag));
                for word in hand.words() {
                    let Word::Ack(last, run) = word else { panic!("{word:?}") };
                    let covered: Vec<_> = open.iter().copied().filter(|t| if run { *t <= last } else { *t == last }).collect();
                    prop_assert!(!covered.is_empty());
                    covered.iter().for_each(|tag| { open.remove(tag); });
                }
                let said: Vec<_> = tags.iter().filter(|tag| open.contains(tag)).collect();
                prop_assert!(said.is_empty(), "not said: {said:?}");
            }
            prop_assert!(hand.is_empty() && open.is_empty());
        }
    }
}

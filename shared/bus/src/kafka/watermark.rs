//! The watermark of one partition: the lowest offset that is not done yet.

use std::collections::VecDeque;
use std::time::Instant;

/// Which offsets of a partition are done. Work may end in any order; the watermark follows the oldest open one.
#[derive(Debug, Default)]
pub(crate) struct Watermark {
    spans: VecDeque<Span>,
    watermark: Option<i64>,
}

#[derive(Debug)]
struct Span {
    first: i64,
    last: i64,
    began: Instant,
    done: bool,
}

impl Watermark {
    /// Work on the offsets `first..=last` begins at `now`. Offsets only grow; gaps are fine (compaction, aborted transactions).
    pub(crate) fn begin(&mut self, first: i64, last: i64, now: Instant) {
        if self.watermark.is_none() {
            self.watermark = Some(first);
        }
        self.spans.push_back(Span { first, last, began: now, done: false });
    }

    /// The work that began at `first` is done. `true` when the watermark moved.
    pub(crate) fn done(&mut self, first: i64) -> bool {
        let Ok(at) = self.spans.binary_search_by_key(&first, |span| span.first) else { return false };
        if let Some(span) = self.spans.get_mut(at) {
            span.done = true;
        }
        let before = self.watermark;
        while let Some(span) = self.spans.pop_front_if(|span| span.done) {
            self.watermark = Some(span.last + 1);
        }
        self.watermark != before
    }

    /// The offset to commit: everything before it is done. `None` before the first record.
    pub(crate) fn watermark(&self) -> Option<i64> {
        self.watermark
    }

    /// Whether work is open.
    pub(crate) fn busy(&self) -> bool {
        !self.spans.is_empty()
    }

    /// When the oldest open work began. What was done since is done again if this process ends.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.spans.front().map(|span| span.began)
    }

    /// Number of offsets, done and open, from the watermark on.
    pub(crate) fn span(&self) -> usize {
        self.spans.len()
    }

    /// Nothing is open, and what lies before `next` is no work.
    pub(crate) fn skip_to(&mut self, next: i64) {
        self.watermark = self.watermark.max(Some(next));
    }

    /// Forgets open work: the partition is read again from the watermark.
    pub(crate) fn rewind(&mut self) {
        self.spans.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_watermark_waits_for_the_oldest() {
        let mut watermark = Watermark::default();
        watermark.begin(5, 7, Instant::now());
        watermark.begin(8, 8, Instant::now());
        watermark.begin(12, 13, Instant::now());
        assert_eq!(watermark.watermark(), Some(5));
        assert!(!watermark.done(8));
        assert_eq!(watermark.watermark(), Some(5));
        assert!(watermark.done(5));
        assert_eq!(watermark.watermark(), Some(9));
        assert!(watermark.done(12));
        assert_eq!(watermark.watermark(), Some(14));
        assert!(!watermark.busy());
    }

    proptest! {
        /// Against the naive model: the watermark is the first offset of the oldest open span.
        #[test]
        fn agrees_with_the_naive_model(lens in proptest::collection::vec((1i64..4, 0i64..3), 1..60), order in any::<u64>()) {
            let mut watermark = Watermark::default();
            let mut open = Vec::new();
            let mut next = 10;
            for (len, gap) in lens {
                let first = next + gap;
                watermark.begin(first, first + len - 1, Instant::now());
                open.push((first, first + len));
                next = first + len;
            }
            let mut last = watermark.watermark();
            let mut seed = order;
            while !open.is_empty() {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let (first, _) = open.remove((seed >> 33) as usize % open.len());
                watermark.done(first);
                if let Some((oldest, _)) = open.iter().min() {
                    prop_assert!(watermark.watermark() <= Some(*oldest));
                } else {
                    prop_assert_eq!(watermark.watermark(), Some(next));
                }
                prop_assert!(watermark.watermark() >= last);
                last = watermark.watermark();
            }
        }
    }
}

//! Deduplication of results: the dedupe window and the idempotency cache, which change together.

mod window;

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_contract::{ErrorCode, ItemId, Problem};
use parking_lot::Mutex;

use crate::idempotency::IdempotencyCache;
use crate::pending::PendingResult;
use window::{DedupeWindow, OfferResult};

/// The deduplicator as the stage, delivery reports and a rebuild share it. The lock is held for one batch at a time,
/// and never while anything is sent or acknowledged.
pub(crate) type SharedDeduplicator = Arc<Mutex<Deduplicator>>;

/// Decides which results are sent.
#[derive(Debug)]
pub(crate) struct Deduplicator {
    window: DedupeWindow<PendingResult>,
    idempotency: IdempotencyCache,
}

/// What happens to a result.
#[derive(Debug)]
pub(crate) enum Decision {
    /// It is sent, and settled when it is confirmed.
    Send(PendingResult),
    /// Only its caller gets it: it repeats a cached answer, or reports a conflict of the `Idempotency-Key`.
    Replay(PendingResult),
    /// It was sent before.
    Duplicate(PendingResult),
    /// The deduplicator holds it until the copy in flight is settled.
    Waits,
    /// The dedupe window has no room for it.
    Full(PendingResult),
}

impl Deduplicator {
    pub(crate) fn new(window: Duration, capacity: usize, answers: usize, now: Instant) -> Self {
        // an id lives for up to a quarter longer than the window; its answer should not expire before it
        let idempotency = IdempotencyCache::new(window + window / 4, answers);
        Self { window: DedupeWindow::new(window, capacity, now), idempotency }
    }

    /// Decides what happens to `result`, and replaces its payload if another answer is to be repeated.
    pub(crate) fn decide(&mut self, mut result: PendingResult, now: Instant) -> Decision {
        let id = result.id();
        let digest = result.idempotency_digest();
        if digest.is_some_and(|digest| self.idempotency.conflicts(id.request_id, digest)) {
            let text = "this Idempotency-Key was used before with another payload";
            result.item.payload = Problem::new(ErrorCode::IdempotencyConflict, text).into();
            return Decision::Replay(result);
        }
        match self.window.offer(id, result) {
            OfferResult::Send(mut result) => {
                if let Some(digest) = digest {
                    result.item.payload = self.idempotency.replay(id, result.item.payload);
                    self.idempotency.insert(id, digest, &result.item.payload, now);
                }
                Decision::Send(result)
            }
            OfferResult::Answered(mut result) if digest.is_some() => {
                result.item.payload = self.idempotency.replay(id, result.item.payload);
                Decision::Replay(result)
            }
            OfferResult::Answered(result) => Decision::Duplicate(result),
            OfferResult::Waits => Decision::Waits,
            OfferResult::Full(result) => Decision::Full(result),
        }
    }

    /// See [`DedupeWindow::settle`]. The time of an id starts now, so the window is advanced first.
    pub(crate) fn settle(&mut self, id: ItemId, sent: bool, now: Instant) -> Vec<PendingResult> {
        self.window.advance(now);
        self.window.settle(id, sent)
    }

    /// Adds an item that an earlier owner of its partition answered.
    pub(crate) fn restore(&mut self, id: ItemId) {
        self.window.restore(id);
    }

    /// Removes what has expired.
    pub(crate) fn advance(&mut self, now: Instant) {
        self.window.advance(now);
        self.idempotency.advance(now);
    }

    /// Number of ids in the window.
    pub(crate) fn ids(&self) -> usize {
        self.window.len()
    }

    /// Whether the window has room for another id.
    pub(crate) fn has_room(&self) -> bool {
        self.window.has_room()
    }
}

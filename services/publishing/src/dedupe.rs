//! Deduplication of results: the dedupe window and the idempotency cache, which change together.

mod coverage;
mod window;

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_contract::{ErrorCode, ItemId, Problem, now_us};
use parking_lot::Mutex;

use crate::expiring_ids::{ExpiringIdSet, Position};
use crate::idempotency::{IdempotencyCache, IdempotencyLimits};
use crate::pending::PendingResult;
use coverage::Coverages;
pub(crate) use coverage::{Coverage, Placement, clock_slack, micros};
use window::{DedupeWindow, OfferResult};

/// The deduplicator as the stage, delivery reports and a rebuild share it. The lock is held for one batch at a time,
/// and never while anything is sent or acknowledged.
pub(crate) type SharedDeduplicator = Arc<Mutex<Deduplicator>>;

/// Decides which results are sent.
#[derive(Debug)]
pub(crate) struct Deduplicator {
    window: DedupeWindow<PendingResult>,
    coverages: Coverages,
    /// Partitions of the result topic, as last seen.
    partitions: Option<u32>,
    /// Whether the answers of a request may be on any partition of the result topic.
    scattered: bool,
    idempotency: IdempotencyCache,
}

/// When a result is judged, by the clock of this process and by that of the mesh.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    pub(crate) unix_us: u64,
}

impl Now {
    pub(crate) fn read() -> Self {
        Self { instant: Instant::now(), unix_us: now_us() }
    }
}

/// What happens to a result.
#[derive(Debug)]
pub(crate) enum Decision {
    /// It is sent, and settled when it is confirmed; with its placement, if it goes to the result topic.
    Send(PendingResult, Option<Placement>),
    /// Only its caller gets it: it repeats a cached answer, or reports a conflict of the `Idempotency-Key`.
    Replay(PendingResult),
    /// It was sent before.
    Duplicate(PendingResult),
    /// The deduplicator holds it until the copy in flight is settled.
    Waits,
    /// Whether it was sent before has to be looked up.
    Unknown(PendingResult, Placement),
    /// The dedupe window has no room for it.
    Full(PendingResult),
}

impl Deduplicator {
    pub(crate) fn new(window: Duration, capacity: usize, answers: IdempotencyLimits, now: Instant) -> Self {
        // an id lives for up to a quarter longer than the window; its answer should not expire before it
        let idempotency = IdempotencyCache::new(window + window / 4, answers);
        let coverages = Coverages::new(window);
        Self {
            window: DedupeWindow::new(window, capacity, now),
            coverages,
            partitions: None,
            scattered: false,
            idempotency,
        }
    }

    /// Decides what happens to `result`, and replaces its payload if another answer is to be repeated. `placement` is
    /// where an earlier answer would be, if it can be looked up.
    pub(crate) fn decide(&mut self, mut result: PendingResult, placement: Option<Placement>, now: Now) -> Decision {
        let id = result.id();
        let (digest, caller) = (result.idempotency_digest(), result.item.context.caller());
        if digest.is_some_and(|digest| self.idempotency.conflicts(id.request_id, digest)) {
            let text = "this Idempotency-Key was used before with another payload";
            result.item.payload = Problem::new(ErrorCode::IdempotencyConflict, text).into();
            return Decision::Replay(result);
        }
        let coverages = &self.coverages;
        let unread = placement.filter(|_| !result.looked_up);
        let known = |answered: &ExpiringIdSet| {
            unread.is_none_or(|placement| {
                let forgotten = || answered.forgotten(placement.partition, placement.source?.partition);
                coverages.decide(&placement, forgotten, now.instant, now.unix_us)
            })
        };
        match self.window.offer(id, result, known) {
            OfferResult::Send(mut result) => {
                if let Some(digest) = digest {
                    result.item.payload = self.idempotency.replay(id, result.item.payload);
                    self.idempotency.insert(id, caller, digest, &result.item.payload, now.instant);
                }
                Decision::Send(result, placement)
            }
            OfferResult::Answered(mut result) if digest.is_some() => {
                result.item.payload = self.idempotency.replay(id, result.item.payload);
                Decision::Replay(result)
            }
            OfferResult::Answered(result) => Decision::Duplicate(result),
            OfferResult::Waits => Decision::Waits,
            OfferResult::Unknown(result) => match placement {
                Some(placement) => Decision::Unknown(result, placement),
                None => Decision::Send(result, None),
            },
            OfferResult::Full(result) => Decision::Full(result),
        }
    }

    /// See [`DedupeWindow::settle`]. The time of an id starts now, so the window is advanced first.
    pub(crate) fn settle(
        &mut self,
        id: ItemId,
        placement: Option<&Placement>,
        sent: bool,
        now: Now,
    ) -> Vec<PendingResult> {
        self.window.advance(now.instant);
        self.window.settle(id, placement.and_then(|it| it.position(now.unix_us)), sent)
    }

    /// Adds an item that the result topic has an answer to.
    pub(crate) fn restore(&mut self, id: ItemId, position: Option<Position>) {
        self.window.restore(id, position);
    }

    /// See [`DedupeWindow::has_room_to_restore`].
    pub(crate) fn has_room_to_restore(&self) -> bool {
        self.window.has_room_to_restore()
    }

    /// See [`DedupeWindow::has_room_for_announced`].
    pub(crate) fn has_room_for_announced(&self) -> bool {
        self.window.has_room_for_announced()
    }

    /// Partitions of the result topic, whose earlier answers another process gave, are known as `coverage` says.
    pub(crate) fn assigned(&mut self, partitions: &[u32], coverage: &Coverage, until: Instant) {
        partitions.iter().for_each(|partition| self.window.drop_forgotten(*partition));
        self.extended(partitions, coverage, until);
    }

    /// Partitions of the result topic are known as `coverage` says, until `until`.
    pub(crate) fn extended(&mut self, partitions: &[u32], coverage: &Coverage, until: Instant) {
        partitions.iter().for_each(|partition| self.coverages.set(*partition, coverage.clone(), until));
    }

    /// Nothing is known of the earlier answers on `partitions`; empty means all of them.
    pub(crate) fn unassigned(&mut self, partitions: &[u32]) {
        self.coverages.remove(partitions);
    }

    /// Takes the number of partitions of the result topic. When it changes, earlier answers are on any of them.
    pub(crate) fn set_partitions(&mut self, count: u32) {
        if self.partitions.replace(count).is_some_and(|before| before != count) {
            self.set_scattered();
            self.coverages.remove(&[]);
        }
    }

    /// From now on every partition of the result topic is read for an earlier answer.
    pub(crate) fn set_scattered(&mut self) {
        self.scattered = true;
    }

    /// Whether the answers of a request may be on any partition of the result topic.
    pub(crate) fn is_scattered(&self) -> bool {
        self.scattered
    }

    /// Removes what has expired.
    pub(crate) fn advance(&mut self, now: Instant) {
        self.window.advance(now);
        self.idempotency.advance(now);
    }

    /// Bytes of the answers that are kept for requests with an `Idempotency-Key`.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.idempotency.bytes()
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

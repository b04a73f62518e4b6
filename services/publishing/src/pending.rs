//! A result that has not been sent yet, with its share of the acknowledgement.

use std::sync::Arc;

use forebay_bus::{Ack, Spans, StageScope};
use forebay_contract::{Batch, Failure, Item, ItemId, Outcome, StageTime};
use parking_lot::Mutex;

use crate::idempotency::PayloadDigest;

/// An outcome, and what it shares with the others of its batch.
#[derive(Debug)]
pub(crate) struct PendingResult {
    pub(crate) item: Item<Outcome>,
    pub(crate) ack: Ack,
    pub(crate) scope: Arc<BatchScope>,
    /// Whether the result topic was read for an earlier answer; then the dedupe window has it if there is one.
    pub(crate) looked_up: bool,
}

/// What the items of one incoming batch share. Dropped with the last of them, which records the time that the batch
/// spent in the stage.
pub(crate) struct BatchScope {
    batch_partition: u32,
    stages: Vec<StageTime>,
    scope: StageScope,
    entered_us: u64,
    answered_us: u64,
    /// Spans of sampled items, open until the results are confirmed.
    spans: Mutex<Spans>,
}

impl std::fmt::Debug for BatchScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchScope")
            .field("batch_partition", &self.batch_partition)
            .field("stages", &self.stages)
            .finish_non_exhaustive()
    }
}

impl BatchScope {
    pub(crate) fn new(batch: &Batch<Outcome>, scope: StageScope, entered_us: u64, spans: Spans) -> Self {
        let stages = batch.stages.clone();
        let answered_us = stages.iter().rev().map(|time| time.left_us).find(|left| *left > 0).unwrap_or(entered_us);
        let (batch_partition, spans) = (batch.batch_partition, Mutex::new(spans));
        Self { batch_partition, stages, scope, entered_us, answered_us, spans }
    }

    /// When the stage that answered passed the outcomes on, Unix microseconds. A batch that is read again says the same.
    pub(crate) fn answered_us(&self) -> u64 {
        self.answered_us
    }

    /// A batch of `items` that leaves now.
    pub(crate) fn leave_with(&self, items: Vec<Item<Outcome>>) -> Batch<Outcome> {
        let mut batch = Batch { batch_partition: self.batch_partition, stages: self.stages.clone(), items };
        batch.leave();
        batch
    }

    /// When the batch entered and left each stage. The last entry is this stage and has no end yet.
    pub(crate) fn stages(&self) -> &[StageTime] {
        &self.stages
    }

    pub(crate) fn spans(&self) -> &Mutex<Spans> {
        &self.spans
    }

    /// Marks the span of `item`, if it has one, as failed.
    pub(crate) fn mark_failed(&self, item: &Item<Outcome>, failure: &Failure) {
        if item.context.sampled()
            && let Some(span) = self.spans.lock().get(&item.context)
        {
            span.error(failure.code.clone(), failure.message.clone());
        }
    }
}

impl Drop for BatchScope {
    fn drop(&mut self) {
        self.scope.leave(self.entered_us);
    }
}

impl PendingResult {
    pub(crate) fn id(&self) -> ItemId {
        self.item.context.item()
    }

    /// The digest of the request's payload if a caller with an `Idempotency-Key` waits for the result: such a caller
    /// gets an answer even if the result is a duplicate.
    pub(crate) fn idempotency_digest(&self) -> Option<PayloadDigest> {
        self.item.context.reply_partition().and_then(|_| self.item.context.payload_digest())
    }
}

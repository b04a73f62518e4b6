//! One outcome on its way out, with its share of the acknowledgement.

use std::sync::Arc;

use forebay_bus::{Ack, Spans, StageScope};
use forebay_contract::{Batch, Item, ItemId, Outcome, StageTime};
use parking_lot::Mutex;

use crate::kept::Digest;

/// An outcome, and what is owed to the delivery it came with.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) item: Item<Outcome>,
    pub(crate) ack: Ack,
    pub(crate) journey: Arc<Journey>,
}

/// What the items of one delivery have in common. It ends with the last of them.
pub(crate) struct Journey {
    batch_partition: u32,
    stages: Vec<StageTime>,
    scope: StageScope,
    entered_us: u64,
    /// Spans of sampled items, open until their delivery reports.
    spans: Mutex<Spans>,
}

impl std::fmt::Debug for Journey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journey")
            .field("travel", &self.batch_partition)
            .field("stages", &self.stages)
            .finish_non_exhaustive()
    }
}

impl Journey {
    pub(crate) fn new(batch: &Batch<Outcome>, scope: StageScope, entered_us: u64, spans: Spans) -> Self {
        let stages = batch.stages.clone();
        Self { batch_partition: batch.batch_partition, stages, scope, entered_us, spans: Mutex::new(spans) }
    }

    /// A batch that goes on from here now.
    pub(crate) fn onward(&self, items: Vec<Item<Outcome>>) -> Batch<Outcome> {
        let mut batch = Batch { batch_partition: self.batch_partition, stages: self.stages.clone(), items };
        batch.leave();
        batch
    }

    /// When the items entered and left each stage; the last entry is this stage and still open.
    pub(crate) fn stages(&self) -> &[StageTime] {
        &self.stages
    }

    pub(crate) fn spans(&self) -> &Mutex<Spans> {
        &self.spans
    }
}

impl Drop for Journey {
    fn drop(&mut self) {
        self.scope.leave(self.entered_us);
    }
}

impl Letter {
    pub(crate) fn id(&self) -> ItemId {
        self.item.context.item()
    }

    /// The payload's digest when a connection waits under an `Idempotency-Key`: such a caller is answered again.
    pub(crate) fn idempotency(&self) -> Option<Digest> {
        self.item.context.reply_partition().and_then(|_| self.item.context.payload_digest())
    }
}

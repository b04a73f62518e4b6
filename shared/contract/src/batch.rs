//! One record on a topic between stages: items that are sent together.

use crate::wire::{Stage, StageTime};
use crate::{Context, now_us};

/// The most items one batch holds.
pub const MAX_BATCH_ITEMS: usize = 256;
/// About the most bytes of rows one batch holds; a single larger item is sent alone.
pub const MAX_BATCH_BYTES: usize = 64 * 1024;

/// Items that are sent together, and when they entered and left each stage.
#[derive(Clone, Debug)]
pub struct Batch<P> {
    /// Partition that the batch keeps on every topic between stages but `results` and `replies`.
    pub batch_partition: u32,
    /// One entry per stage so far; the last one is open until the batch leaves.
    pub stages: Vec<StageTime>,
    /// The items; never empty on an edge.
    pub items: Vec<Item<P>>,
}

/// One row of one request.
#[derive(Clone, Debug)]
pub struct Item<P> {
    /// Written by ingestion and never changed.
    pub context: Context,
    /// Span of the stage before; 0 when the request is not sampled.
    pub parent_span: u64,
    /// How often processing this item was started before without completing.
    pub attempt: u32,
    /// What this stage works on.
    pub payload: P,
}

impl<P> Item<P> {
    /// The same item with another payload.
    pub fn with<Q>(self, payload: Q) -> Item<Q> {
        Item { context: self.context, parent_span: self.parent_span, attempt: self.attempt, payload }
    }
}

impl<P> Batch<P> {
    /// A batch without items, with the partition and the stage times of this one.
    pub fn onward<Q>(&self) -> Batch<Q> {
        Batch { batch_partition: self.batch_partition, stages: self.stages.clone(), items: Vec::new() }
    }

    /// Notes that the batch entered a stage now.
    pub fn enter(&mut self, stage: Stage) -> u64 {
        let now = now_us();
        self.stages.push(StageTime { stage: stage.into(), entered_us: now, left_us: 0 });
        now
    }

    /// Notes that the batch leaves its current stage now.
    pub fn leave(&mut self) -> u64 {
        let now = now_us();
        if let Some(last) = self.stages.last_mut() {
            last.left_us = now;
        }
        now
    }
}

/// Decides when a growing batch is full, by items and bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Packing {
    items: usize,
    bytes: usize,
}

impl Packing {
    /// Counts one more item of about `bytes` bytes.
    pub fn add(&mut self, bytes: usize) {
        self.items += 1;
        self.bytes += bytes;
    }

    /// Whether one more item of `bytes` bytes still fits.
    pub fn fits(&self, bytes: usize) -> bool {
        self.items == 0 || (self.items < MAX_BATCH_ITEMS && self.bytes + bytes <= MAX_BATCH_BYTES)
    }

    /// Items counted so far.
    pub fn items(&self) -> usize {
        self.items
    }
}

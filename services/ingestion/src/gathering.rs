//! Pacing: when pending items leave as a batch.
//!
//! An idle mesh never waits: the first item leaves at once. While items keep coming, a batch leaves when it is full or
//! when its turn comes: turns are a gap apart, and a few unused ones are kept, so that jitter costs a slow stream nothing.
//! Every later hop handles a bounded number of records a second, however many requests they hold. (The generic cell rate
//! algorithm of ITU-T I.371, with the gap as increment and the saved turns as limit.)

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use forebay_bus::Ack;
use forebay_contract::{Batch, Item, MAX_BATCH_ITEMS, Packing, Request, Stage, StageTime, now_us};
use forebay_runtime::StageSpan;

/// Items from a door, under one acknowledgement.
#[derive(Debug)]
pub struct Offer {
    /// Any number of them.
    pub items: Vec<Item<Request>>,
    /// Answered when all of them are safe.
    pub ack: Ack,
    /// Spans that end when the items are handed over.
    pub spans: Vec<StageSpan>,
}

/// Takes items to the gatherer.
pub type Gather = Arc<dyn Fn(Offer) + Send + Sync>;

/// A batch that leaves.
#[derive(Debug)]
pub struct Flush {
    /// One batch partition, at most 256 items.
    pub batch: Batch<Request>,
    /// Of every offer that has items in it.
    pub ack: Ack,
    /// To be ended at the hand-over.
    pub spans: Vec<StageSpan>,
}

/// Unused turns that are kept.
const SAVED: u32 = 3;

/// When the pending items leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// There are none.
    Idle,
    /// As soon as everything that has arrived is in.
    Now,
    /// Then.
    At(Instant),
}

/// Pending items of all doors.
#[derive(Debug)]
pub struct Gathering {
    gap: Duration,
    partitions: u32,
    batch_partition: Arc<AtomicU32>,
    /// The turn after the last one taken, were none saved.
    next: Option<Instant>,
    pending: Pending,
}

#[derive(Debug, Default)]
struct Pending {
    items: Vec<Item<Request>>,
    packing: Packing,
    acks: Vec<Ack>,
    spans: Vec<StageSpan>,
}

impl Gathering {
    /// Batches `gap` apart unless they are full, spread over `partitions` from the `first` on: replicas that
    /// start together should not walk in step.
    pub fn new(gap: Duration, partitions: u32, first: u32) -> Self {
        let partitions = partitions.max(1);
        Self {
            gap,
            partitions,
            batch_partition: Arc::new(AtomicU32::new(first % partitions)),
            next: None,
            pending: Pending::default(),
        }
    }

    /// Batch partition of the batch that is gathering now, for whoever wants to follow it.
    pub fn batch_partition(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.batch_partition)
    }

    /// Takes an offer; batches that are full leave through `full`.
    pub fn add(&mut self, offer: Offer, now: Instant, mut full: impl FnMut(Flush)) {
        let Offer { items, ack, spans } = offer;
        self.pending.spans.extend(spans);
        let mut ours = 0;
        for item in items {
            let weight = weight(&item);
            if !self.pending.packing.fits(weight) {
                if ours > 0 {
                    self.pending.acks.push(ack.share());
                }
                ours = 0;
                self.flush(now).map(&mut full);
            }
            self.pending.packing.add(weight);
            self.pending.items.push(item);
            ours += 1;
        }
        if ours > 0 {
            self.pending.acks.push(ack);
        } else {
            ack.ack();
        }
        if self.pending.items.len() >= MAX_BATCH_ITEMS {
            self.flush(now).map(&mut full);
        }
    }

    /// When the pending items leave.
    pub fn due(&self, now: Instant) -> Due {
        if self.pending.items.is_empty() {
            return Due::Idle;
        }
        match self.next.and_then(|next| next.checked_sub(self.gap * SAVED)) {
            Some(at) if now < at => Due::At(at),
            _ => Due::Now,
        }
    }

    /// What is pending leaves.
    pub fn flush(&mut self, now: Instant) -> Option<Flush> {
        if self.pending.items.is_empty() {
            return None;
        }
        self.next = Some(self.next.map_or(now, |next| next.max(now)) + self.gap);
        let Pending { items, acks, spans, .. } = mem::take(&mut self.pending);
        let batch_partition = self.batch_partition.load(Ordering::Relaxed);
        self.batch_partition.store((batch_partition + 1) % self.partitions, Ordering::Relaxed);
        let entered_us = items.iter().map(|item| item.context.accepted_us()).min().unwrap_or_default();
        // room for the entries of the four stages to come
        let mut stages = Vec::with_capacity(5);
        stages.push(StageTime { stage: Stage::Ingestion.into(), entered_us, left_us: now_us() });
        Some(Flush { batch: Batch { batch_partition, stages, items }, ack: Ack::join(acks), spans })
    }
}

/// About how many bytes an item has on an edge.
fn weight(item: &Item<Request>) -> usize {
    let Request { model, version, features, names, .. } = &item.payload;
    let names: usize = names.iter().map(|name| name.len() + 2).sum();
    item.context.encoded().len() + model.len() + version.len() + features.len() * 8 + names + 16
}

#[cfg(test)]
mod tests;

//! When pending items leave as a batch.
//!
//! An idle mesh never waits: the first item leaves at once. Under load a batch leaves when it is full or when the
//! rate limit allows the next one: one batch every `interval`, with a burst of `BURST` on top, so that jitter
//! does not delay a slow stream. (The generic cell rate algorithm of ITU-T I.371 with `interval` as the increment and
//! `BURST * interval` as the limit.)
//!
//! Every later hop costs by the record, so replicas share that rate: each of two sends half as many records, with twice
//! as many items in them. That would delay items for long where there are many replicas, so at most `MOST_SHARED` share
//! it, and a batch of `LARGE` items does not wait for the others, because such records are worth their cost.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use forebay_bus::Ack;
use forebay_contract::{Batch, Item, MAX_BATCH_ITEMS, Packing, Request, Stage, StageTime, Value, now_us};
use forebay_runtime::StageSpan;

use crate::request::params_weight;

/// Items from an entry point that share one acknowledgement.
#[derive(Debug)]
pub struct PendingItems {
    /// Any number of items.
    pub items: Vec<Item<Request>>,
    /// Acknowledged once the next edge has accepted every item.
    pub ack: Ack,
    /// Spans that end when the items are sent.
    pub spans: Vec<StageSpan>,
}

/// Passes items to the batcher, which sends them into the mesh.
pub type BatcherHandle = Arc<dyn Fn(PendingItems) + Send + Sync>;

/// A batch that is ready to be sent.
#[derive(Debug)]
pub struct ReadyBatch {
    /// At most 256 items for one partition.
    pub batch: Batch<Request>,
    /// Joins the acknowledgements of all [`PendingItems`] that have items in the batch.
    pub ack: Ack,
    /// Spans to end when the batch is sent.
    pub spans: Vec<StageSpan>,
}

/// Batches that may leave ahead of the rate after an idle period.
const BURST: u32 = 3;

/// The most replicas that share the rate: an item waits for at most this many intervals.
const MOST_SHARED: u32 = 4;

/// Items of a batch that leaves at the rate of a single replica.
const LARGE: usize = 32;

/// When the pending items leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushTime {
    /// Nothing is pending.
    Idle,
    /// As soon as everything that has already arrived is added.
    Now,
    /// At this time.
    At(Instant),
}

/// Collects the items of all entry points into batches.
#[derive(Debug)]
pub struct Batcher {
    /// Between two batches of one replica that is alone.
    interval: Duration,
    /// Replicas that share the rate.
    replicas: u32,
    partitions: u32,
    /// Partition of the batch that is being filled; the entry points read it.
    batch_partition: Arc<AtomicU32>,
    /// When the next batch could leave if no burst were allowed.
    next: Option<Instant>,
    /// When the last batch left.
    left: Option<Instant>,
    open: OpenBatch,
}

/// The batch that is being filled.
#[derive(Debug, Default)]
struct OpenBatch {
    items: Vec<Item<Request>>,
    packing: Packing,
    acks: Vec<Ack>,
    spans: Vec<StageSpan>,
}

impl Batcher {
    /// A batcher that sends one batch every `interval` unless batches are full, and spreads them over `partitions`
    /// starting at `first`. Replicas that start together should use different first partitions.
    pub fn new(interval: Duration, partitions: u32, first: u32) -> Self {
        let partitions = partitions.max(1);
        Self {
            interval,
            replicas: 1,
            partitions,
            batch_partition: Arc::new(AtomicU32::new(first % partitions)),
            next: None,
            left: None,
            open: OpenBatch::default(),
        }
    }

    /// The partition of the batch that is being filled. The value changes with every batch.
    pub fn batch_partition(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.batch_partition)
    }

    /// Adds items; batches that become full are passed to `full`.
    pub fn add(&mut self, pending: PendingItems, now: Instant, mut full: impl FnMut(ReadyBatch)) {
        let PendingItems { items, ack, spans } = pending;
        self.open.spans.extend(spans);
        let mut added = 0;
        for item in items {
            let weight = weight(&item);
            if !self.open.packing.fits(weight) {
                if added > 0 {
                    self.open.acks.push(ack.share());
                }
                added = 0;
                self.flush(now).map(&mut full);
            }
            self.open.packing.add(weight);
            self.open.items.push(item);
            added += 1;
        }
        if added > 0 {
            self.open.acks.push(ack);
        } else {
            ack.ack();
        }
        if self.open.items.len() >= MAX_BATCH_ITEMS {
            self.flush(now).map(&mut full);
        }
    }

    /// From now on `replicas` share the rate.
    pub fn share_rate(&mut self, replicas: u32) {
        self.replicas = replicas.clamp(1, MOST_SHARED);
    }

    /// When the next batch may leave that is not full; `None` before the first.
    pub fn next_flush(&self) -> Option<Instant> {
        self.next.and_then(|next| next.checked_sub(self.interval * self.replicas * BURST))
    }

    fn is_large(&self) -> bool {
        self.open.items.len() >= LARGE
    }

    /// Takes a batch that has become large and need not wait any longer.
    pub fn flush_if_large(&mut self, now: Instant) -> Option<ReadyBatch> {
        let due = self.is_large() && self.flush_time(now) == FlushTime::Now;
        due.then(|| self.flush(now)).flatten()
    }

    /// When the pending items leave.
    pub fn flush_time(&self, now: Instant) -> FlushTime {
        if self.open.items.is_empty() {
            return FlushTime::Idle;
        }
        let mut at = self.next_flush();
        if self.is_large() {
            at = at.zip(self.left).map(|(at, left)| at.min(left + self.interval));
        }
        match at {
            Some(at) if now < at => FlushTime::At(at),
            _ => FlushTime::Now,
        }
    }

    /// Takes the pending items as a batch, or `None` if there are none.
    pub fn flush(&mut self, now: Instant) -> Option<ReadyBatch> {
        if self.open.items.is_empty() {
            return None;
        }
        let increment = if self.is_large() { self.interval } else { self.interval * self.replicas };
        self.next = Some(self.next.map_or(now, |next| next.max(now)) + increment);
        self.left = Some(now);
        let OpenBatch { items, acks, spans, .. } = mem::take(&mut self.open);
        let batch_partition = self.batch_partition.load(Ordering::Relaxed);
        self.batch_partition.store((batch_partition + 1) % self.partitions, Ordering::Relaxed);
        let entered_us = items.iter().map(|item| item.context.accepted_us()).min().unwrap_or_default();
        // capacity for the entries of the four later stages
        let mut stages = Vec::with_capacity(5);
        stages.push(StageTime { stage: Stage::Ingestion.into(), entered_us, left_us: now_us() });
        Some(ReadyBatch { batch: Batch { batch_partition, stages, items }, ack: Ack::join(acks), spans })
    }
}

/// Approximate encoded size of an item on an edge, in bytes.
fn weight(item: &Item<Request>) -> usize {
    let Request { model, version, features, names, values, output, params, .. } = &item.payload;
    let names: usize = names.iter().map(|name| name.len() + 2).sum();
    item.context.encoded().len()
        + model.len()
        + version.len()
        + features.len() * 8
        + values.iter().map(Value::weight).sum::<usize>()
        + names
        + output.len()
        + params_weight(params)
        + 16
}

#[cfg(test)]
mod tests;

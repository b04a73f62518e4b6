//! Batches on their way out. The items of an incoming batch leave at different times and in different company; its
//! acknowledgement is shared between them.

use std::cell::RefCell;
use std::rc::Rc;

use forebay_bus::{Ack, Entered, Spans, StageScope};
use forebay_contract::{Batch, Features, Item, Outcome, Problem, StageTime};
use forebay_runtime::TraceContext;
use rustc_hash::FxHashMap;

use crate::entry::CacheEntry;
use crate::outlets::Outlets;

/// What the items of one incoming batch share. Dropped with the last of them, which records the time that the batch
/// spent in the stage.
#[derive(Debug)]
pub(crate) struct BatchScope {
    /// Unique within the stage.
    id: u64,
    batch_partition: u32,
    stages: Vec<StageTime>,
    entered_us: u64,
    spans: RefCell<Spans>,
    scope: Rc<StageScope>,
}

impl Drop for BatchScope {
    fn drop(&mut self) {
        self.scope.leave(self.entered_us);
    }
}

impl BatchScope {
    /// Splits a batch that has entered the stage into its scope, its live items, and the answers to items that arrived
    /// after their deadline.
    pub(crate) fn begin(
        id: u64,
        scope: &Rc<StageScope>,
        entered: Entered<Features>,
    ) -> (Rc<Self>, Vec<Item<Features>>, Vec<Item<Outcome>>) {
        let Entered { batch: Batch { batch_partition, stages, items }, expired, spans, entered_us } = entered;
        let (spans, scope) = (RefCell::new(spans), Rc::clone(scope));
        (Rc::new(Self { id, batch_partition, stages, entered_us, spans, scope }), items, expired)
    }

    /// Ends the item's span, if it is sampled, with what the cache did for it.
    fn end_span(&self, item: &Item<Features>, result: &'static str) {
        if item.context.sampled() {
            let span = self.spans.borrow_mut().take(&item.context);
            if let Some(mut span) = span {
                span.set("forebay.cache", result);
            }
        }
    }

    /// The trace context for a child of the item's span; `None` if the item is not sampled.
    pub(crate) fn trace(&self, item: &Item<Features>) -> Option<TraceContext> {
        if !item.context.sampled() {
            return None;
        }
        self.spans.borrow_mut().get(&item.context).map(|span| span.context())
    }

    fn leave_with<P>(&self, items: Vec<Item<P>>) -> Batch<P> {
        let mut batch = Batch { batch_partition: self.batch_partition, stages: self.stages.clone(), items };
        batch.leave();
        batch
    }
}

/// An item that waits for the answer to an equal one, with its share of the acknowledgement.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) item: Item<Features>,
    pub(crate) scope: Rc<BatchScope>,
    pub(crate) ack: Ack,
}

/// Items of one incoming batch that leave together.
#[derive(Debug)]
pub(crate) struct OutgoingBatch {
    scope: Rc<BatchScope>,
    answers: Vec<Item<Outcome>>,
    misses: Vec<Item<Features>>,
    /// The shares of the acknowledgement that these items hold.
    acks: Vec<Ack>,
}

impl OutgoingBatch {
    pub(crate) fn new(scope: Rc<BatchScope>, ack: Ack) -> Self {
        Self { scope, answers: Vec::new(), misses: Vec::new(), acks: vec![ack] }
    }

    /// Starts with answers that are ready already.
    pub(crate) fn with_answers(mut self, answers: Vec<Item<Outcome>>) -> Self {
        self.answers = answers;
        self
    }

    /// Answers the item from `entry`; `result` is the value of its span's `forebay.cache`.
    pub(crate) fn answer(&mut self, item: Item<Features>, entry: &CacheEntry, result: &'static str) {
        self.scope.end_span(&item, result);
        let Item { context, parent_span, attempt, payload } = item;
        self.answers.push(Item { context, parent_span, attempt, payload: entry.answer(payload).into() });
    }

    /// Sends the item on to prediction.
    pub(crate) fn miss(&mut self, item: Item<Features>) {
        self.scope.end_span(&item, "miss");
        self.misses.push(item);
    }

    /// Answers the item with an error.
    pub(crate) fn fail(&mut self, item: Item<Features>, problem: Problem) {
        let failed = self.scope.scope.fail(item, problem, &mut self.scope.spans.borrow_mut());
        self.answers.push(failed);
    }

    /// Number of items that go on to prediction.
    pub(crate) fn misses(&self) -> usize {
        self.misses.len()
    }

    /// Sends the items. The acknowledgement is given when both outlets have accepted theirs.
    pub(crate) fn send(self, outlets: &Outlets) {
        let Self { scope, answers, misses, mut acks } = self;
        let ack = if acks.len() == 1 { acks.pop().unwrap_or_else(Ack::none) } else { Ack::join(acks) };
        if answers.is_empty() && misses.is_empty() {
            return ack.ack(); // items that are still here hold shares themselves
        }
        if misses.is_empty() {
            return outlets.results.send(scope.leave_with(answers), ack);
        }
        if !answers.is_empty() {
            outlets.results.send(scope.leave_with(answers), ack.share());
        }
        outlets.predict.send(scope.leave_with(misses), ack);
    }
}

/// Waiters that leave now, grouped by the batch they arrived in, so that those of one batch leave as one batch.
#[derive(Debug, Default)]
pub(crate) struct OutgoingBatches {
    batches: Vec<OutgoingBatch>,
    /// Positions in `batches` by [`BatchScope::id`].
    positions: FxHashMap<u64, usize>,
}

impl OutgoingBatches {
    /// Adds the waiter's share of the acknowledgement. Returns its item and the batch that the item leaves in.
    pub(crate) fn add(&mut self, waiter: Waiter) -> (Item<Features>, &mut OutgoingBatch) {
        let Waiter { item, scope, ack } = waiter;
        let position = *self.positions.entry(scope.id).or_insert(self.batches.len());
        if position == self.batches.len() {
            self.batches.push(OutgoingBatch { scope, answers: Vec::new(), misses: Vec::new(), acks: Vec::new() });
        }
        let batch = &mut self.batches[position];
        batch.acks.push(ack);
        (item, batch)
    }

    /// Sends the waiter's item on to prediction.
    pub(crate) fn miss(&mut self, waiter: Waiter) {
        let (item, batch) = self.add(waiter);
        batch.miss(item);
    }

    /// Answers the waiters from `entry`, except those that are pinned to another version: they are misses. Returns how
    /// many were answered.
    pub(crate) fn answer(&mut self, waiters: Vec<Waiter>, entry: &CacheEntry) -> u64 {
        let mut answered = 0;
        for waiter in waiters {
            let (item, batch) = self.add(waiter);
            if entry.answers(&item.payload) {
                answered += 1;
                batch.answer(item, entry, "waited");
            } else {
                batch.miss(item);
            }
        }
        answered
    }

    /// Number of items that go on to prediction.
    pub(crate) fn misses(&self) -> usize {
        self.batches.iter().map(OutgoingBatch::misses).sum()
    }

    /// Sends the batches.
    pub(crate) fn send(self, outlets: &Outlets) {
        for batch in self.batches {
            batch.send(outlets);
        }
    }
}

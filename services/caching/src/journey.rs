//! A batch whose items leave the stage at different times and in different company, under one acknowledgement.

use std::cell::RefCell;
use std::rc::Rc;

use forebay_bus::{Ack, Entered, Spans, StageScope};
use forebay_contract::{Batch, Features, Item, Outcome, Problem, StageTime};
use forebay_runtime::TraceContext;
use rustc_hash::FxHashMap;

use crate::entry::Entry;
use crate::outlets::Outlets;

/// What the items of one batch share. It ends, and its time is counted, when the last of them has left.
#[derive(Debug)]
pub(crate) struct Journey {
    batch_partition: u32,
    stages: Vec<StageTime>,
    entered_us: u64,
    spans: RefCell<Spans>,
    scope: Rc<StageScope>,
}

impl Drop for Journey {
    fn drop(&mut self) {
        self.scope.leave(self.entered_us);
    }
}

impl Journey {
    /// The journey of a batch that has entered, its live items, and the answers to those that came too late.
    pub(crate) fn begin(
        scope: &Rc<StageScope>,
        entered: Entered<Features>,
    ) -> (Rc<Self>, Vec<Item<Features>>, Vec<Item<Outcome>>) {
        let Entered { batch: Batch { batch_partition, stages, items }, expired, spans, entered_us } = entered;
        let (spans, scope) = (RefCell::new(spans), Rc::clone(scope));
        (Rc::new(Self { batch_partition, stages, entered_us, spans, scope }), items, expired)
    }

    /// Notes on the item's span, if it is sampled, what the cache did, and ends it.
    fn mark(&self, item: &Item<Features>, what: &'static str) {
        if item.context.sampled() {
            let span = self.spans.borrow_mut().take(&item.context);
            if let Some(mut span) = span {
                span.set("forebay.cache", what);
            }
        }
    }

    /// The context for a span below that of a sampled item.
    pub(crate) fn trace(&self, item: &Item<Features>) -> Option<TraceContext> {
        if !item.context.sampled() {
            return None;
        }
        self.spans.borrow_mut().get(&item.context).map(|span| span.context())
    }

    fn onward<P>(&self, items: Vec<Item<P>>) -> Batch<P> {
        let mut batch = Batch { batch_partition: self.batch_partition, stages: self.stages.clone(), items };
        batch.leave();
        batch
    }
}

/// An item that leaves on its own, with its share of the acknowledgement.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) item: Item<Features>,
    pub(crate) journey: Rc<Journey>,
    pub(crate) ack: Ack,
}

/// Items of one journey that leave together.
#[derive(Debug)]
pub(crate) struct Parcel {
    journey: Rc<Journey>,
    answers: Vec<Item<Outcome>>,
    misses: Vec<Item<Features>>,
    acks: Vec<Ack>,
}

impl Parcel {
    pub(crate) fn new(journey: Rc<Journey>, ack: Ack) -> Self {
        Self { journey, answers: Vec::new(), misses: Vec::new(), acks: vec![ack] }
    }

    /// Answers that are ready already.
    pub(crate) fn with_answers(mut self, answers: Vec<Item<Outcome>>) -> Self {
        self.answers = answers;
        self
    }

    /// The item is answered by `entry`; `what` says how it was had.
    pub(crate) fn answer(&mut self, item: Item<Features>, entry: &Entry, what: &'static str) {
        self.journey.mark(&item, what);
        let Item { context, parent_span, attempt, payload } = item;
        self.answers.push(Item { context, parent_span, attempt, payload: entry.answer(payload).into() });
    }

    /// The item goes on to prediction.
    pub(crate) fn miss(&mut self, item: Item<Features>) {
        self.journey.mark(&item, "miss");
        self.misses.push(item);
    }

    /// The item cannot be answered any more.
    pub(crate) fn fail(&mut self, item: Item<Features>, problem: Problem) {
        let failed = self.journey.scope.fail(item, problem, &mut self.journey.spans.borrow_mut());
        self.answers.push(failed);
    }

    /// How many go on to prediction.
    pub(crate) fn misses(&self) -> usize {
        self.misses.len()
    }

    /// Off they go; the acknowledgement is answered when both ways are safe.
    pub(crate) fn send(self, outlets: &Outlets) {
        let Self { journey, answers, misses, mut acks } = self;
        let ack = if acks.len() == 1 { acks.pop().unwrap_or_else(Ack::none) } else { Ack::join(acks) };
        if answers.is_empty() && misses.is_empty() {
            return ack.ack(); // whatever is left of this journey has shares of its own
        }
        if misses.is_empty() {
            return outlets.results.send(journey.onward(answers), ack);
        }
        if !answers.is_empty() {
            outlets.results.send(journey.onward(answers), ack.share());
        }
        outlets.predict.send(journey.onward(misses), ack);
    }
}

/// Waiters who leave now, by journey, so that those who came in one batch leave in one.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    parcels: Vec<Parcel>,
    places: FxHashMap<*const Journey, usize>,
}

impl Departures {
    /// The waiter's item and the parcel it leaves in.
    pub(crate) fn board(&mut self, waiter: Waiter) -> (Item<Features>, &mut Parcel) {
        let Waiter { item, journey, ack } = waiter;
        let place = *self.places.entry(Rc::as_ptr(&journey)).or_insert(self.parcels.len());
        if place == self.parcels.len() {
            self.parcels.push(Parcel { journey, answers: Vec::new(), misses: Vec::new(), acks: Vec::new() });
        }
        let parcel = &mut self.parcels[place];
        parcel.acks.push(ack);
        (item, parcel)
    }

    /// How many go on to prediction.
    pub(crate) fn misses(&self) -> usize {
        self.parcels.iter().map(Parcel::misses).sum()
    }

    /// Off they go.
    pub(crate) fn send(self, outlets: &Outlets) {
        for parcel in self.parcels {
            parcel.send(outlets);
        }
    }
}

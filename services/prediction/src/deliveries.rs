//! Deliveries in progress. The rows of one delivery may be answered in several turns and at different times; each part
//! is sent as soon as it is ready, and the last one ends the delivery.

use forebay_bus::{Ack, Entered, Outlet, Spans, StageScope};
use forebay_contract::{Batch, Features, Item, Outcome, Prediction};

/// The outlets of the stage.
#[derive(Debug, Clone)]
pub struct Outlets {
    /// Takes the outcome of every item.
    pub results: Outlet<Outcome>,
    /// Takes the score or failure of each row, for the cache. Advisory: it is not waited for.
    pub predictions: Outlet<Prediction>,
    /// Takes rows back that are to be answered later, where there are lanes.
    pub later: Option<Outlet<Features>>,
}

/// The deliveries, by an index that is reused when a delivery ends.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    open: Vec<Option<OpenDelivery>>,
    free: Vec<usize>,
    /// Indexes of the deliveries with something to send.
    touched: Vec<usize>,
}

#[derive(Debug)]
struct OpenDelivery {
    /// Its partition and stage times; its items are in the queue.
    head: Batch<Features>,
    spans: Spans,
    entered_us: u64,
    /// How many items have no outcome yet.
    left: usize,
    ack: Ack,
    results: Vec<Item<Outcome>>,
    predictions: Vec<Item<Prediction>>,
    later: Vec<Item<Features>>,
    touched: bool,
}

impl Deliveries {
    /// Takes a delivery in; returns its index and its items.
    pub(crate) fn open(&mut self, entered: Entered<Features>, ack: Ack) -> (usize, Vec<Item<Features>>) {
        let Entered { batch: mut head, expired, spans, entered_us } = entered;
        let items = std::mem::take(&mut head.items);
        let index = self.free.pop().unwrap_or_else(|| {
            self.open.push(None);
            self.open.len() - 1
        });
        let touched = items.is_empty() || !expired.is_empty();
        if touched {
            self.touched.push(index);
        }
        let (left, mut results, later) = (items.len(), expired, Vec::new());
        results.reserve_exact(left);
        let predictions = Vec::with_capacity(left);
        self.open[index] =
            Some(OpenDelivery { head, spans, entered_us, left, ack, results, predictions, later, touched });
        (index, items)
    }

    /// The spans of a delivery's items.
    pub(crate) fn spans(&mut self, index: usize) -> Option<&mut Spans> {
        self.open.get_mut(index)?.as_mut().map(|delivery| &mut delivery.spans)
    }

    /// Adds the outcome of an item.
    pub(crate) fn done(&mut self, index: usize, outcome: Item<Outcome>, prediction: Option<Item<Prediction>>) {
        let Some(open) = self.open.get_mut(index).and_then(Option::as_mut) else { return };
        open.results.push(outcome);
        open.predictions.extend(prediction);
        open.finish_one(index, &mut self.touched);
    }

    /// An item leaves to be answered later.
    pub(crate) fn later(&mut self, index: usize, item: Item<Features>) {
        let Some(open) = self.open.get_mut(index).and_then(Option::as_mut) else { return };
        open.later.push(item);
        open.finish_one(index, &mut self.touched);
    }

    /// Sends what is ready, a batch for each delivery.
    pub(crate) fn flush(&mut self, outlets: &Outlets, scope: &StageScope) {
        for index in self.touched.drain(..) {
            let Some(mut open) = self.open[index].take() else { continue };
            let mut results = open.head.onward::<Outcome>();
            let mut predictions = open.head.onward::<Prediction>();
            results.items = std::mem::take(&mut open.results);
            predictions.items = std::mem::take(&mut open.predictions);
            results.leave();
            predictions.leave();
            if let Some(outlet) = outlets.later.as_ref().filter(|_| !open.later.is_empty()) {
                // with the times of the stages up to here: this one enters them again
                let (batch_partition, stages) = (open.head.batch_partition, open.head.stages.clone());
                let items = std::mem::take(&mut open.later);
                outlet.send(Batch { batch_partition, stages, items }, open.ack.share());
            }
            if open.left == 0 {
                scope.leave(open.entered_us);
                self.free.push(index);
                outlets.results.send(results, open.ack);
            } else {
                outlets.results.send(results, open.ack.share());
                open.touched = false;
                self.open[index] = Some(open);
            }
            outlets.predictions.send(predictions, Ack::none());
        }
    }
}

impl OpenDelivery {
    fn finish_one(&mut self, index: usize, touched: &mut Vec<usize>) {
        self.left -= 1;
        if !std::mem::replace(&mut self.touched, true) {
            touched.push(index);
        }
    }
}

//! Deliveries under way. Rows of one delivery may be answered in several turns and at different times; each part leaves
//! as soon as it is there, and the last one ends the delivery.

use forebay_bus::{Ack, Entered, Outlet, Spans, StageScope};
use forebay_contract::{Batch, Features, Item, Outcome, Prediction};

/// Where the stage sends to.
#[derive(Debug, Clone)]
pub struct Outlets {
    /// Outcomes of every item.
    pub results: Outlet<Outcome>,
    /// What became of each miss, for the cache; nobody waits for it.
    pub predictions: Outlet<Prediction>,
}

/// Numbered places, used again when free.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    places: Vec<Option<Open>>,
    free: Vec<usize>,
    /// Places with something to send.
    touched: Vec<usize>,
}

#[derive(Debug)]
struct Open {
    /// Batch partition and stage times; its items are in the queue.
    head: Batch<Features>,
    spans: Spans,
    entered_us: u64,
    /// Items without an outcome.
    left: usize,
    ack: Ack,
    results: Vec<Item<Outcome>>,
    predictions: Vec<Item<Prediction>>,
    touched: bool,
}

impl Deliveries {
    /// Takes a delivery in and gives its place and its items.
    pub(crate) fn open(&mut self, entered: Entered<Features>, ack: Ack) -> (usize, Vec<Item<Features>>) {
        let Entered { batch: mut head, expired, spans, entered_us } = entered;
        let items = std::mem::take(&mut head.items);
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        let touched = items.is_empty() || !expired.is_empty();
        if touched {
            self.touched.push(place);
        }
        let (left, predictions) = (items.len(), Vec::new());
        self.places[place] = Some(Open { head, spans, entered_us, left, ack, results: expired, predictions, touched });
        (place, items)
    }

    /// The spans of a delivery's items.
    pub(crate) fn spans(&mut self, place: usize) -> Option<&mut Spans> {
        self.places.get_mut(place)?.as_mut().map(|open| &mut open.spans)
    }

    /// An item has its outcome.
    pub(crate) fn done(&mut self, place: usize, outcome: Item<Outcome>, prediction: Option<Item<Prediction>>) {
        let Some(open) = self.places.get_mut(place).and_then(Option::as_mut) else { return };
        open.left -= 1;
        open.results.push(outcome);
        open.predictions.extend(prediction);
        if !open.touched {
            open.touched = true;
            self.touched.push(place);
        }
    }

    /// Sends what there is, a batch for each delivery.
    pub(crate) fn flush(&mut self, outlets: &Outlets, scope: &StageScope) {
        for place in self.touched.drain(..) {
            let Some(mut open) = self.places[place].take() else { continue };
            let mut results = open.head.onward::<Outcome>();
            let mut predictions = open.head.onward::<Prediction>();
            results.items = std::mem::take(&mut open.results);
            predictions.items = std::mem::take(&mut open.predictions);
            results.leave();
            predictions.leave();
            if open.left == 0 {
                scope.leave(open.entered_us);
                self.free.push(place);
                outlets.results.send(results, open.ack);
            } else {
                outlets.results.send(results, open.ack.share());
                open.touched = false;
                self.places[place] = Some(open);
            }
            outlets.predictions.send(predictions, Ack::none());
        }
    }
}

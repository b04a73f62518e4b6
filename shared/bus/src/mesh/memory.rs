//! Memory edges: an outlet whose reader is known when the first batch passes, so that stages can be built in any order
//! although the path has loops.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use forebay_contract::edges::Edge;
use forebay_contract::{Features, Outcome, Prediction, Request};
use prost::Message;

use crate::{Delivery, Inlet, Outlet};

/// The readers of the memory edges with one type of payload, by the setting of their topic.
#[derive(Debug)]
pub struct Readers<P>(BTreeMap<&'static str, Arc<OnceLock<Inlet<P>>>>);

impl<P> Default for Readers<P> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<P> Readers<P> {
    /// An edge with a writer and without a reader.
    fn unserved(&self) -> Option<&'static str> {
        self.0.iter().find(|(_, reader)| reader.get().is_none()).map(|(topic, _)| *topic)
    }
}

/// The memory edges of one process.
#[derive(Debug, Default)]
pub struct MemoryEdges {
    requests: Readers<Request>,
    features: Readers<Features>,
    predictions: Readers<Prediction>,
    outcomes: Readers<Outcome>,
}

/// What an edge between two stages can carry.
pub trait EdgePayload: Message + Default + Sized + 'static {
    /// Where the readers of edges with this payload are kept.
    #[doc(hidden)]
    fn readers(edges: &mut MemoryEdges) -> &mut Readers<Self>;
}

impl EdgePayload for Request {
    fn readers(edges: &mut MemoryEdges) -> &mut Readers<Self> {
        &mut edges.requests
    }
}

impl EdgePayload for Features {
    fn readers(edges: &mut MemoryEdges) -> &mut Readers<Self> {
        &mut edges.features
    }
}

impl EdgePayload for Prediction {
    fn readers(edges: &mut MemoryEdges) -> &mut Readers<Self> {
        &mut edges.predictions
    }
}

impl EdgePayload for Outcome {
    fn readers(edges: &mut MemoryEdges) -> &mut Readers<Self> {
        &mut edges.outcomes
    }
}

impl MemoryEdges {
    /// The sending end. Nothing is sent before the edge has its reader, because sources start last.
    pub(super) fn outlet<P: EdgePayload>(&mut self, edge: &Edge<P>) -> Outlet<P> {
        let reader = self.reader(edge);
        Outlet::new(move |payload, ack| {
            // without a reader the ack is dropped, which is a nack: nothing is lost
            if let Some(inlet) = reader.get() {
                inlet.deliver(Delivery { payload, ack });
            }
        })
    }

    /// The receiving end; the first inlet of an edge stays.
    pub(super) fn serve<P: EdgePayload>(&mut self, edge: &Edge<P>, inlet: Inlet<P>) {
        drop(self.reader(edge).set(inlet));
    }

    /// The setting of an edge with a writer and without a reader.
    pub(super) fn unserved(&self) -> Option<&'static str> {
        let Self { requests, features, predictions, outcomes } = self;
        let first = requests.unserved().or(features.unserved());
        first.or(predictions.unserved()).or(outcomes.unserved())
    }

    fn reader<P: EdgePayload>(&mut self, edge: &Edge<P>) -> Arc<OnceLock<Inlet<P>>> {
        Arc::clone(P::readers(self).0.entry(edge.spec().topic.setting).or_default())
    }
}

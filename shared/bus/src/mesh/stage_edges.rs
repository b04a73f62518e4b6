//! The Kafka edges of the stages of one process, each with its own producer and permits.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use forebay_contract::Stage;
use forebay_contract::edges::EdgeSpec;
use forebay_runtime::{Host, StartError};

use crate::kafka::Edges;
use crate::{BusSettings, Permits, stage_name};

/// The edges that were opened so far, by stage.
#[derive(Debug, Default)]
pub(super) struct StageEdges(BTreeMap<Stage, Edges>);

impl StageEdges {
    /// The edges of a stage, opened when the first is needed.
    pub(super) fn open(&mut self, host: &Host, settings: &BusSettings, stage: Stage) -> Result<&mut Edges, StartError> {
        match self.0.entry(stage) {
            Entry::Occupied(opened) => Ok(opened.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(Edges::open(host, settings, stage_name(stage))?)),
        }
    }

    /// The permits of a stage; new ones if it has no Kafka edge.
    pub(super) fn permits(&self, host: &Host, settings: &BusSettings, stage: Stage) -> Permits {
        let new = || Permits::with_bytes(host.settings().delivery.in_flight, settings.bytes_in_flight(host));
        self.0.get(&stage).map_or_else(new, |edges| edges.permits().clone())
    }

    /// The stages whose edges were opened.
    #[cfg(test)]
    pub(super) fn stages(&self) -> Vec<Stage> {
        self.0.keys().copied().collect()
    }

    /// All edges, to be drained.
    pub(super) fn into_edges(self) -> Vec<Edges> {
        self.0.into_values().collect()
    }
}

/// The error of a stage that uses an edge which is not its own; `what` it does with it.
pub(super) fn not_in_topology(stage: Stage, edge: &EdgeSpec, what: &str) -> StartError {
    let (stage, topic) = (stage_name(stage), edge.topic.name);
    StartError::failed(format!("{stage} does not {what} {topic}: see shared/contract/src/edges.rs"))
}

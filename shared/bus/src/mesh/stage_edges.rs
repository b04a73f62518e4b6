//! The Kafka edges of the stages of one process, each with its own producer and permits.

use forebay_contract::Stage;
use forebay_runtime::{Host, StartError};

use crate::kafka::Edges;
use crate::{Permits, stage_name};

/// The edges that were opened so far, by stage.
#[derive(Debug, Default)]
pub(super) struct StageEdges(Vec<(Stage, Edges)>);

impl StageEdges {
    /// The edges of a stage, opened when the first is needed.
    pub(super) fn open(&mut self, host: &Host, stage: Stage) -> Result<&mut Edges, StartError> {
        let place = match self.0.iter().position(|(known, _)| *known == stage) {
            Some(place) => place,
            None => {
                self.0.push((stage, Edges::open(host, stage_name(stage))?));
                self.0.len() - 1
            }
        };
        let found = self.0.get_mut(place).map(|(_, edges)| edges);
        found.ok_or_else(|| StartError::failed("the edges of a stage are gone"))
    }

    /// The permits of a stage; new ones if it has no Kafka edge.
    pub(super) fn permits(&self, host: &Host, stage: Stage) -> Permits {
        let edges = self.0.iter().find(|(known, _)| *known == stage);
        edges.map_or_else(|| Permits::new(host.settings().delivery.in_flight), |(_, edges)| edges.permits().clone())
    }

    /// The stages whose edges were opened.
    #[cfg(test)]
    pub(super) fn stages(&self) -> Vec<Stage> {
        self.0.iter().map(|(stage, _)| *stage).collect()
    }

    /// All edges, to be drained.
    pub(super) fn into_edges(self) -> Vec<Edges> {
        self.0.into_iter().map(|(_, edges)| edges).collect()
    }
}

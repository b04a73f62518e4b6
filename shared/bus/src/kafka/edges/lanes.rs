//! The sending ends of edges, which may have lanes, and what follows from lanes for a stage.

use forebay_contract::Lane;
use forebay_contract::edges::{EDGES, Edge, EdgeSpec, Kind, Partitioning, Peer, RESULTS};
use prost::Message as Payload;

use super::Edges;
use crate::Outlet;
use crate::kafka::outlet::Fallback;
use crate::kafka::source::SourceTopics;
use crate::outlet::by_lane;
use crate::permits::StagePermits;
use crate::stage_name;

/// The permits of a stage: a pool for each lane, if there are lanes and it reads edges that have them.
pub(super) fn permits(stage: &str, lanes: bool, in_flight: usize, bytes: u64) -> StagePermits {
    let is_reader = |peer: &Peer| matches!(peer, Peer::Stage(reader) if stage_name(*reader) == stage);
    if lanes && EDGES.iter().any(|edge| edge.has_lanes() && edge.to.iter().any(is_reader)) {
        StagePermits::by_lane(in_flight, bytes)
    } else {
        StagePermits::whole(in_flight, bytes)
    }
}

impl Edges {
    /// The sending end of an edge. `Fallback` says what becomes of items that cannot be sent.
    pub fn outlet<P: Payload + Default + 'static>(&self, edge: &Edge<P>) -> Outlet<P> {
        let spec = edge.spec();
        let fallback = match (spec.kind, spec.partitioning) {
            (Kind::Advisory, _) => Fallback::dropping(self.host.settings().delivery.in_flight, &self.metrics),
            (_, Partitioning::Batch) => Fallback::Answer(self.outlet(&RESULTS)),
            _ => Fallback::Replace,
        };
        if !self.has_lanes(spec) {
            return self.kafka_outlet(spec, self.name(spec), fallback).into_outlet();
        }
        by_lane(Lane::ALL.map(|lane| self.lane_outlet(edge, lane)))
    }

    /// The sending end of one lane of an edge. `None` where it has none.
    pub fn lane<P: Payload + Default + 'static>(&self, edge: &Edge<P>, lane: Lane) -> Option<Outlet<P>> {
        self.has_lanes(edge.spec()).then(|| self.lane_outlet(edge, lane))
    }

    pub(super) fn lane_outlet<P: Payload + Default + 'static>(&self, edge: &Edge<P>, lane: Lane) -> Outlet<P> {
        let topic = lane.topic(self.name(edge.spec()));
        self.kafka_outlet(edge.spec(), &topic, Fallback::Answer(self.outlet(&RESULTS))).into_outlet()
    }

    pub(super) fn has_lanes(&self, edge: &EdgeSpec) -> bool {
        self.client.settings().lanes && edge.has_lanes()
    }

    pub(super) fn topics(&self, topic: &str, lanes: bool) -> SourceTopics {
        match lanes && self.client.settings().lanes {
            true => SourceTopics::lanes(topic),
            false => SourceTopics::one(topic),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_stages_that_read_lanes_divide_their_permits() {
        let limit = |stage: &str, lanes: bool| permits(stage, lanes, 4096, u64::MAX).of(Lane::Normal).limit();
        let stages = ["ingestion", "preprocessing", "caching", "prediction", "publishing"];
        assert_eq!(stages.map(|stage| limit(stage, true)), [2048, 2048, 2048, 2048, 4096]);
        assert_eq!(stages.map(|stage| limit(stage, false)), [4096; 5]);
    }
}

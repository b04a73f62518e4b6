//! Which stages run in one process, and which edges between them are memory.

use std::str::FromStr;

use forebay_contract::Stage;
use forebay_contract::edges::{EdgeSpec, InMemory, Peer};

use crate::stage_name;

const ORDER: [Stage; 5] =
    [Stage::Ingestion, Stage::Preprocessing, Stage::Caching, Stage::Prediction, Stage::Publishing];

/// A set of stages, in the order of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stages(Vec<Stage>);

impl Stages {
    /// All five.
    pub fn all() -> Self {
        Self(ORDER.to_vec())
    }

    /// One stage.
    pub fn one(stage: Stage) -> Self {
        Self(vec![stage])
    }

    /// Whether `stage` runs here.
    pub fn has(&self, stage: Stage) -> bool {
        self.0.contains(&stage)
    }

    /// The stages in the order of the path.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Stage> {
        self.0.iter().copied()
    }

    /// Whether the whole path runs here.
    pub fn is_whole(&self) -> bool {
        self.0.len() == ORDER.len()
    }

    /// Whether an edge stays in this process.
    pub fn share(&self, edge: &EdgeSpec) -> bool {
        let here = |peer: &Peer| matches!(peer, Peer::Stage(stage) if self.has(*stage));
        match edge.in_memory {
            InMemory::Never => false,
            InMemory::BothEnds => edge.from.iter().all(here) && edge.to.iter().all(here),
            InMemory::WholeMesh => self.is_whole(),
        }
    }

    /// The stages by name.
    pub fn names(&self) -> String {
        self.0.iter().map(|stage| stage_name(*stage)).collect::<Vec<_>>().join(", ")
    }
}

impl FromStr for Stages {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut wanted = Vec::new();
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let known = ORDER.into_iter().find(|stage| stage_name(*stage) == name);
            let all = Self::all().names();
            wanted.push(known.ok_or_else(|| format!("no stage is called {name:?}; there are {all}"))?);
        }
        let stages: Vec<Stage> = ORDER.into_iter().filter(|stage| wanted.contains(stage)).collect();
        if stages.is_empty() { Err("names no stage".to_owned()) } else { Ok(Self(stages)) }
    }
}

#[cfg(test)]
mod tests {
    use forebay_contract::edges::{EDGES, FEATURES, PREDICT, PREDICTIONS, REPLIES, REQUESTS, RESULTS};

    use super::*;

    #[test]
    fn stages_stand_in_the_order_of_the_path() {
        let stages: Stages = "prediction, caching".parse().unwrap();
        assert_eq!(stages.names(), "caching, prediction");
        assert!(stages.share(PREDICT.spec()) && stages.share(PREDICTIONS.spec()));
        assert!(!stages.share(FEATURES.spec()));
        assert!(!stages.share(RESULTS.spec()));
        assert!(Stages::all().share(RESULTS.spec()));
    }

    #[test]
    fn an_unknown_stage_is_named() {
        let error = "caching,predict".parse::<Stages>().unwrap_err();
        assert!(error.contains("\"predict\"") && error.contains("prediction"), "{error}");
        assert!(" , ".parse::<Stages>().is_err());
    }

    /// Every set of stages: results and replies need all five, the others both their ends, topics of clients never.
    #[test]
    fn an_edge_is_memory_in_exactly_the_sets_that_its_rule_names() {
        for set in 1..32_u32 {
            let stages =
                Stages(ORDER.into_iter().enumerate().filter(|(i, _)| set & (1 << i) != 0).map(|it| it.1).collect());
            let both = |from, to| stages.has(from) && stages.has(to);
            let expected: Vec<&str> = [
                (REQUESTS.spec(), both(Stage::Ingestion, Stage::Preprocessing)),
                (FEATURES.spec(), both(Stage::Preprocessing, Stage::Caching)),
                (PREDICT.spec(), both(Stage::Caching, Stage::Prediction)),
                (PREDICTIONS.spec(), both(Stage::Caching, Stage::Prediction)),
                (RESULTS.spec(), set == 31),
                (REPLIES.spec(), set == 31),
            ]
            .into_iter()
            .filter_map(|(edge, shared)| shared.then_some(edge.topic.setting))
            .collect();
            let shared: Vec<&str> =
                EDGES.iter().filter(|edge| stages.share(edge)).map(|edge| edge.topic.setting).collect();
            assert_eq!(shared, expected, "{}", stages.names());
        }
    }
}

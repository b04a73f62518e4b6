//! Which stages run in this process, and which edges between them are memory.

use std::str::FromStr;

use forebay_bus::stage_name;
use forebay_contract::Stage;

const ORDER: [Stage; 5] =
    [Stage::Ingestion, Stage::Preprocessing, Stage::Caching, Stage::Prediction, Stage::Publishing];

/// A set of stages, in the order of the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stages(Vec<Stage>);

impl Stages {
    /// All five.
    pub(crate) fn all() -> Self {
        Self(ORDER.to_vec())
    }

    /// Whether `stage` runs here.
    pub(crate) fn has(&self, stage: Stage) -> bool {
        self.0.contains(&stage)
    }

    /// Whether the whole path runs here.
    pub(crate) fn whole(&self) -> bool {
        self.0.len() == ORDER.len()
    }

    /// Whether the edge from `from` to `to` stays in this process.
    pub(crate) fn joined(&self, from: Stage, to: Stage) -> bool {
        self.has(from) && self.has(to)
    }

    /// Whether outcomes stay in this process: only when everything that makes them does, because one publishing replica
    /// must see every copy of a request.
    pub(crate) fn outcomes_stay(&self) -> bool {
        self.whole()
    }

    /// The stages by name.
    pub(crate) fn names(&self) -> String {
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
    use super::*;

    #[test]
    fn stages_stand_in_the_order_of_the_path() {
        let stages: Stages = "prediction, caching".parse().unwrap();
        assert_eq!(stages.names(), "caching, prediction");
        assert!(stages.joined(Stage::Caching, Stage::Prediction));
        assert!(!stages.joined(Stage::Preprocessing, Stage::Caching));
        assert!(!stages.outcomes_stay());
        assert!(Stages::all().outcomes_stay());
    }

    #[test]
    fn an_unknown_stage_is_named() {
        let error = "caching,predict".parse::<Stages>().unwrap_err();
        assert!(error.contains("\"predict\"") && error.contains("prediction"), "{error}");
        assert!(" , ".parse::<Stages>().is_err());
    }
}

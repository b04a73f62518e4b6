//! The section `[preprocessing]`.

mod memory;

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_registry::ModelSettings;
use forebay_runtime::{Layers, Problems, duration};
use serde::Deserialize;

use crate::traffic_split::TrafficSplit;

/// What happens to missing values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MissingValues {
    /// Filled in by the version's preprocessing artefact or its model, where one of them does that.
    Impute,
    /// Refused, whatever the version can do.
    Reject,
}

/// What happens to columns that the model does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExtraColumns {
    /// They are ignored, as in MLflow.
    Ignore,
    /// The row is refused.
    Reject,
}

/// `[features]`; `settings.toml` says what each key means.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureSettings {
    /// What happens to columns that the model does not have.
    pub extra: ExtraColumns,
}

/// `[preprocessing]`; `settings.toml` says what each key means.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreprocessingSettings {
    /// What happens to missing values.
    pub missing: MissingValues,
    /// How long a new Production version waits for the prediction replicas, at most.
    #[serde(with = "duration")]
    pub gate: Duration,
    /// Versions and weights by model.
    pub split: BTreeMap<String, String>,
    /// Lowest and highest value by model and feature.
    pub ranges: BTreeMap<String, BTreeMap<String, (f64, f64)>>,
}

/// The sections that this service reads in addition to the common ones.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The section `[models]`.
    pub models: ModelSettings,
    /// The section `[preprocessing]`.
    pub preprocessing: PreprocessingSettings,
    /// The section `[features]`.
    pub features: FeatureSettings,
    /// `preprocessing.split`, parsed.
    pub(crate) splits: BTreeMap<String, TrafficSplit>,
}

impl Settings {
    /// Reads and checks the section; what is wrong goes to `problems`.
    pub fn read(layers: &Layers, problems: &mut Problems) -> Option<Self> {
        let models = ModelSettings::read(layers, problems);
        let features = layers.section::<FeatureSettings>("features", problems);
        let preprocessing = layers.section::<PreprocessingSettings>("preprocessing", problems)?;
        for (model, ranges) in &preprocessing.ranges {
            for (feature, (low, high)) in
                ranges.iter().filter(|(_, (low, high))| low.partial_cmp(high).is_none_or(|order| order.is_gt()))
            {
                let key = format!("preprocessing.ranges.{model}.{feature}");
                problems.add(key, format!("is [{low}, {high}], expected the lower bound first"));
            }
        }
        let mut splits = BTreeMap::new();
        for (model, text) in &preprocessing.split {
            match TrafficSplit::parse(text) {
                Ok(split) => drop(splits.insert(model.clone(), split)),
                Err(why) => problems.add(format!("preprocessing.split.{model}"), why),
            }
        }
        Some(Self { models: models?, preprocessing, features: features?, splits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_testkit::settings;

    fn read(file: &str) -> (Option<Settings>, Vec<String>) {
        settings(&[crate::DEFAULTS]).file(file).read_all(Settings::read)
    }

    #[test]
    fn the_defaults_are_sound() {
        let (settings, problems) = read("");
        assert_eq!(problems, [""; 0]);
        let section = settings.unwrap().preprocessing;
        assert_eq!(section.missing, MissingValues::Impute);
        assert_eq!(read("").0.unwrap().features.extra, ExtraColumns::Ignore);
        assert!(section.ranges.is_empty() && section.split.is_empty());
        assert_eq!(section.gate, Duration::from_secs(30));
    }

    #[test]
    fn ranges_are_read_and_checked() {
        let (settings, problems) = read("[preprocessing.ranges.m]\nbmi = [-0.5, 3]\nage = [2.0, 1.0]");
        assert_eq!(problems, ["preprocessing.ranges.m.age: is [2, 1], expected the lower bound first"]);
        assert_eq!(settings.unwrap().preprocessing.ranges["m"]["bmi"], (-0.5, 3.0));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let (_, problems) = read("[preprocessing]\nmissing = \"guess\"");
        assert!(problems.iter().any(|p| p.starts_with("preprocessing.missing: ")), "{problems:?}");
        let (_, problems) = read("[features]\nextra = \"keep\"");
        assert!(problems.iter().any(|p| p.starts_with("features.extra: ")), "{problems:?}");
    }

    #[test]
    fn splits_are_read_and_checked() {
        let (set, problems) = read("[preprocessing.split]\nm = \"v3=90, v2=10\"\n\"team/n\" = \"v1\"");
        let expected = "preprocessing.split.team/n: has \"v1\", expected version=weight such as \"v3=90, v2=10\"";
        assert_eq!(problems, [expected]);
        assert_eq!(set.unwrap().splits["m"].shares().count(), 2);
        let flags = ["preprocessing.split.m=v3=90, candidate=10"];
        let read = settings(&[crate::DEFAULTS]).flags(&flags).read(Settings::read).unwrap();
        assert_eq!(read.splits["m"].shares().next(), Some(("v3", 9000)));
    }
}

//! The section `[prediction]`.

mod memory;
mod shadow;

use std::time::Duration;

use forebay_contract::MAX_BATCH_ITEMS;
use forebay_registry::ModelSettings;
use forebay_runtime::{CircuitPolicy, Layers, Problems, duration};
use serde::Deserialize;

pub(crate) use shadow::{ShadowSettings, ShadowTarget, ShadowVersion};

/// Which versions are loaded before a row needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Warm {
    /// Every version that the registry lists.
    All,
    /// The production version and the one before it.
    Production,
}

/// `[prediction]`. `settings.toml` describes each key.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PredictionSettings {
    /// Which versions are loaded before a row needs them.
    pub warm: Warm,
    /// Consecutive failures that open the breaker of a version.
    pub breaker_failures: u32,
    /// How long a breaker stays open.
    #[serde(with = "duration")]
    pub breaker_open: Duration,
    /// Longest time a call of a model may take.
    #[serde(with = "duration")]
    pub infer_timeout: Duration,
    /// Largest number of rows in one call.
    pub batch: usize,
    /// Time after which a waiting row has a share of the turns, whatever its priority.
    #[serde(with = "duration")]
    pub max_age: Duration,
    /// Time for one row above which a version runs on separate threads.
    #[serde(with = "duration")]
    pub inline_row: Duration,
    /// Number of those threads.
    pub threads: usize,
    /// Shadow versions, as `model/version` or `model@alias`.
    pub shadow: Vec<String>,
    /// Relative difference above which a shadow's number disagrees with the answer.
    pub shadow_tolerance: f64,
}

/// The settings of this service beside the shared sections.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The section `[prediction]`.
    pub prediction: PredictionSettings,
    /// The section `[models]`.
    pub models: ModelSettings,
    /// `prediction.shadow`, parsed.
    pub(crate) shadows: ShadowSettings,
}

impl Settings {
    /// Reads and checks the section. Errors are added to `problems`.
    pub fn read(layers: &Layers, problems: &mut Problems) -> Option<Self> {
        let prediction = layers.section::<PredictionSettings>("prediction", problems);
        let models = ModelSettings::read(layers, problems);
        let prediction = prediction?;
        if prediction.breaker_failures == 0 {
            problems.add("prediction.breaker_failures", "is 0, expected at least 1");
        }
        for (key, value) in [
            ("prediction.breaker_open", prediction.breaker_open),
            ("prediction.infer_timeout", prediction.infer_timeout),
            ("prediction.max_age", prediction.max_age),
        ] {
            if value.is_zero() {
                problems.add(key, "is 0, expected a time");
            }
        }
        if !(1..=16 * MAX_BATCH_ITEMS).contains(&prediction.batch) {
            problems
                .add("prediction.batch", format!("is {}, expected 1 to {}", prediction.batch, 16 * MAX_BATCH_ITEMS));
        }
        if !(1..=64).contains(&prediction.threads) {
            problems.add("prediction.threads", format!("is {}, expected 1 to 64", prediction.threads));
        }
        if !(0.0..=1.0).contains(&prediction.shadow_tolerance) {
            problems.add("prediction.shadow_tolerance", format!("is {}, expected 0 to 1", prediction.shadow_tolerance));
        }
        let mut shadows = ShadowSettings { targets: Vec::new(), tolerance: prediction.shadow_tolerance };
        for text in &prediction.shadow {
            match ShadowTarget::parse(text) {
                Some(target) => shadows.targets.push(target),
                None => problems.add(
                    "prediction.shadow",
                    format!("has {text:?}, expected \"model/version\" such as \"m/2\" or \"model@alias\""),
                ),
            }
        }
        Some(Self { prediction, models: models?, shadows })
    }
}

impl PredictionSettings {
    pub(crate) fn breaker(&self) -> CircuitPolicy {
        CircuitPolicy { failures: self.breaker_failures, open: self.breaker_open }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_testkit::settings;

    fn read(flags: &[&str]) -> (Option<Settings>, Vec<String>) {
        settings(&[crate::DEFAULTS]).flags(flags).read_all(Settings::read)
    }

    #[test]
    fn the_defaults_are_those_of_the_legacy_breaker() {
        let (settings, problems) = read(&[]);
        assert_eq!(problems, [""; 0]);
        let section = settings.unwrap().prediction;
        assert_eq!((section.breaker_failures, section.breaker_open), (5, Duration::from_secs(60)));
        assert_eq!((section.warm, section.infer_timeout), (Warm::All, Duration::from_secs(2)));
    }

    #[test]
    fn shadows_are_read_and_checked() {
        let (settings, problems) = read(&["prediction.shadow=m/2, team/n/v3, m@candidate, team/n@challenger"]);
        assert_eq!(problems, [""; 0]);
        let targets = settings.unwrap().shadows.targets;
        let shown: Vec<String> = targets.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["m/2", "team/n/3", "m@candidate", "team/n@challenger"]);
        let (_, problems) =
            read(&["prediction.shadow=m, @a, m@", "prediction.threads=0", "prediction.breaker_failures=0"]);
        assert_eq!(problems.len(), 5, "{problems:?}");
    }
}

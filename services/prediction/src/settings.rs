//! The section `[prediction]`.

use std::time::Duration;

use forebay_contract::MAX_BATCH_ITEMS;
use forebay_runtime::{CircuitPolicy, Layers, Problems, duration};
use serde::Deserialize;

use crate::shadow::{Shadowing, Target};

/// Which versions are loaded before they are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Warm {
    /// All that the registry lists.
    All,
    /// Production and the version before it.
    Production,
}

/// `[prediction]`; `settings.toml` says what each key means.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prediction {
    /// Which versions are loaded before they are asked for.
    pub warm: Warm,
    /// Failures in a row that open a breaker.
    pub breaker_failures: u32,
    /// How long it stays open.
    #[serde(with = "duration")]
    pub breaker_open: Duration,
    /// Longest call of a model.
    #[serde(with = "duration")]
    pub infer_timeout: Duration,
    /// Most rows of one call.
    pub batch: usize,
    /// Age at which an item goes first.
    #[serde(with = "duration")]
    pub max_age: Duration,
    /// Time for a row above which a version runs on threads of its own.
    #[serde(with = "duration")]
    pub inline_row: Duration,
    /// Calls of such versions at a time.
    pub threads: usize,
    /// `model/version` or `model@alias`
    pub shadow: Vec<String>,
    /// Relative difference above which a shadow's number disagrees with the answer.
    pub shadow_tolerance: f64,
}

/// Everything this service reads beside the shared sections.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The only section.
    pub prediction: Prediction,
    /// `prediction.shadow`, read.
    pub(crate) shadows: Shadowing,
}

impl Settings {
    /// Reads and checks the section; what is wrong goes to `problems`.
    pub fn read(layers: &Layers, problems: &mut Problems) -> Option<Self> {
        let prediction = layers.section::<Prediction>("prediction", problems)?;
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
        let mut shadows = Shadowing { targets: Vec::new(), tolerance: prediction.shadow_tolerance };
        for text in &prediction.shadow {
            match Target::parse(text) {
                Some(target) => shadows.targets.push(target),
                None => problems.add(
                    "prediction.shadow",
                    format!("has {text:?}, expected \"model/version\" such as \"m/2\" or \"model@alias\""),
                ),
            }
        }
        Some(Self { prediction, shadows })
    }
}

impl Prediction {
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

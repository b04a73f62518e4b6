//! The section `[results]`; `settings.toml` documents each key.

use forebay_runtime::{Layers, Problems};
use serde::Deserialize;

/// The settings of the publishing service.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[results]`
    pub results: ResultSettings,
}

/// `[results]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultSettings {
    /// Whether errors of requests from Kafka are sent to the result topic.
    pub errors: ErrorResults,
    /// Whether results of HTTP and RabbitMQ requests are sent to the result topic as well.
    pub also_http: bool,
    /// Format of the time in a result on the result topic.
    pub timestamp: TimestampFormat,
    /// Most ids that the dedupe window holds.
    pub window_capacity: usize,
    /// Most requests with an `Idempotency-Key` whose answers are cached.
    pub idempotent_answers: usize,
}

impl ResultSettings {
    /// Whether a result goes to the topic or exchange that clients share. A caller with a queue or a connection of its own
    /// gets every result.
    pub(crate) fn is_shared(&self, failed: bool) -> bool {
        !(failed && self.errors == ErrorResults::Omit)
    }
}

/// What happens to errors of requests from Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorResults {
    /// They are sent as results without a prediction.
    Send,
    /// They are not sent, as by the replaced service.
    Omit,
}

/// Format of the time in a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimestampFormat {
    /// ISO 8601 on Event Hubs, milliseconds on Kafka, as in the replaced service.
    Auto,
    /// Milliseconds since 1970.
    Milliseconds,
    /// ISO 8601, UTC.
    Iso8601,
}

/// A window smaller than the work in flight would hold intake back forever.
const MIN_CAPACITY: usize = 1024;

impl Settings {
    /// Reads and checks the section; adds everything that is wrong to `problems`.
    pub fn read(layers: &Layers, problems: &mut Problems) -> Option<Self> {
        let results = layers.section::<ResultSettings>("results", problems)?;
        if results.window_capacity < MIN_CAPACITY {
            let text = format!("is {}, expected at least {MIN_CAPACITY}", results.window_capacity);
            problems.add("results.window_capacity", text);
        }
        Some(Self { results })
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
    fn the_defaults_are_valid() {
        let (settings, problems) = read(&[]);
        assert!(problems.is_empty());
        let results = settings.unwrap().results;
        assert_eq!(results.errors, ErrorResults::Send);
        assert!(!results.also_http);
    }

    #[test]
    fn invalid_values_are_reported() {
        let (settings, problems) = read(&["results.errors=omit", "results.window_capacity=3"]);
        assert_eq!(settings.unwrap().results.errors, ErrorResults::Omit);
        assert!(!problems.is_empty());
        let (settings, problems) = read(&["results.errors=drop"]);
        assert!(settings.is_none() && !problems.is_empty());
    }
}

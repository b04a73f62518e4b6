//! Settings of the publishing service.

use forebay_runtime::{Layers, Problems};
use serde::Deserialize;

/// All of them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[results]`
    pub results: Results,
}

/// `[results]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Results {
    /// Errors of requests that came over Kafka.
    pub errors: Errors,
    /// Results of HTTP and RabbitMQ requests go to the result topic as well.
    pub also_http: bool,
    /// How a result on the topic writes its time.
    pub timestamp: Timestamp,
    /// Answered items remembered at most.
    pub window_capacity: usize,
    /// Asks with an `Idempotency-Key` whose answers are kept.
    pub idempotent_answers: usize,
}

/// What happens to an error on the result topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Errors {
    /// A result that says so.
    Send,
    /// Nothing: the replaced service sent none.
    Omit,
}

/// Form of the time of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Timestamp {
    /// As the broker's kind has it.
    Auto,
    /// Milliseconds since 1970.
    Milliseconds,
    /// ISO 8601, UTC.
    Iso8601,
}

/// Fewer ids than work in hand would hold intake back for good.
const LEAST_CAPACITY: usize = 1024;

impl Settings {
    /// Reads and checks the section; what is wrong goes to `problems`.
    pub fn read(layers: &Layers, problems: &mut Problems) -> Option<Self> {
        let results = layers.section::<Results>("results", problems)?;
        if results.window_capacity < LEAST_CAPACITY {
            let text = format!("is {}, expected at least {LEAST_CAPACITY}", results.window_capacity);
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
    fn the_embedded_file_is_the_default() {
        let (settings, problems) = read(&[]);
        assert!(problems.is_empty());
        let results = settings.unwrap().results;
        assert_eq!(results.errors, Errors::Send);
        assert!(!results.also_http);
    }

    #[test]
    fn wrong_values_are_named() {
        let (settings, problems) = read(&["results.errors=omit", "results.window_capacity=3"]);
        assert_eq!(settings.unwrap().results.errors, Errors::Omit);
        assert!(!problems.is_empty());
        let (settings, problems) = read(&["results.errors=drop"]);
        assert!(settings.is_none() && !problems.is_empty());
    }
}

//! The section `[results]`; `settings.toml` documents each key.

mod memory;

use std::time::Duration;

use forebay_bus::{EventHubs, SchemaSettings};
use forebay_runtime::{Layers, Problems, duration, size};
use serde::Deserialize;

/// The settings of the publishing service.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[results]`
    pub results: ResultSettings,
    /// `[schemas]`
    pub schemas: SchemaSettings,
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
    /// How a result is written on the result topic.
    pub format: ResultFormat,
    /// The id of its schema; 0 for the one that the registry gives it.
    pub schema_id: u32,
    /// Whether results are written in transactions.
    pub transactions: bool,
    /// Shortest time from the beginning of one transaction to that of the next.
    #[serde(with = "duration")]
    pub transaction_interval: Duration,
    /// Most ids that the dedupe window holds.
    pub window_capacity: usize,
    /// Most requests with an `Idempotency-Key` whose answers are cached.
    pub idempotent_answers: usize,
    /// Most bytes of those answers; one caller may have a quarter of them.
    #[serde(with = "size")]
    pub idempotent_memory: usize,
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

/// How a result is written on the result topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResultFormat {
    /// As JSON alone.
    Json,
    /// As JSON behind the id of a JSON schema.
    JsonSchema,
    /// As Avro behind the id of its schema.
    Avro,
    /// As Protobuf behind the id of its schema.
    Protobuf,
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
/// Results wait for as long.
const LONGEST_INTERVAL: Duration = Duration::from_secs(1);

impl Settings {
    /// Reads and checks the section; adds everything that is wrong to `problems`.
    pub fn read(layers: &Layers, problems: &mut Problems) -> Option<Self> {
        let results = layers.section::<ResultSettings>("results", problems);
        let schemas = SchemaSettings::read(layers, problems);
        let (results, schemas) = (results?, schemas?);
        if results.format != ResultFormat::Json && schemas.registry.is_empty() {
            problems.add("results.format", "has a schema, and schemas.registry names no registry that gives it an id");
        }
        if results.window_capacity < MIN_CAPACITY {
            let text = format!("is {}, expected at least {MIN_CAPACITY}", results.window_capacity);
            problems.add("results.window_capacity", text);
        }
        if results.transactions && layers.extension::<EventHubs>().is_some_and(|hubs| hubs.enabled) {
            let text = "is true, and the broker is Event Hubs, where the mesh uses no transactions";
            problems.add("results.transactions", text);
        }
        if results.transaction_interval > LONGEST_INTERVAL {
            let text = format!("is {:?}, expected at most {LONGEST_INTERVAL:?}", results.transaction_interval);
            problems.add("results.transaction_interval", text);
        }
        Some(Self { results, schemas })
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
    fn event_hubs_and_transactions_exclude_each_other() {
        let connection = "Endpoint=sb://ns.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey=k";
        let both = |environment: &[(&str, &str)]| {
            let sources = settings(&[forebay_bus::DEFAULTS, crate::DEFAULTS]).environment(environment);
            sources.flags(&["results.transactions=true"]).read_all(Settings::read).1
        };
        assert!(both(&[]).is_empty());
        let problems = both(&[("EVENTHUB_CONNECTION", connection)]);
        assert!(problems[0].contains("results.transactions") && problems[0].contains("Event Hubs"), "{problems:?}");
    }

    #[test]
    fn invalid_values_are_reported() {
        let (settings, problems) = read(&["results.errors=omit", "results.window_capacity=3"]);
        assert_eq!(settings.unwrap().results.errors, ErrorResults::Omit);
        assert!(!problems.is_empty());
        let (_, problems) = read(&["results.format=avro"]);
        assert!(problems[0].contains("results.format") && problems[0].contains("schemas.registry"), "{problems:?}");
        assert!(read(&["results.format=json-schema", "schemas.registry=http://localhost:1"]).1.is_empty());
        let (_, problems) = read(&["results.transaction_interval=2s"]);
        assert!(problems[0].contains("at most 1s"), "{problems:?}");
        let (settings, problems) = read(&["results.errors=drop"]);
        assert!(settings.is_none() && !problems.is_empty());
    }
}

//! Settings of the doors; `settings.toml` says what each means.

use std::net::SocketAddr;
use std::time::Duration;

use forebay_runtime::{Layers, Problems, duration, size};
use serde::Deserialize;

/// Both sections, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The HTTP door.
    pub http: Http,
    /// The Kafka door and what both share.
    pub ingestion: Ingestion,
}

/// `[http]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Address of the door.
    pub listen: SocketAddr,
    /// Bytes.
    #[serde(with = "size")]
    pub max_body: usize,
    /// Rows of one request.
    pub max_rows: usize,
    /// Rows of all requests that wait.
    pub in_flight: usize,
    /// Threads.
    pub workers: usize,
    /// Of one worker.
    pub max_connections: usize,
    /// Of an idle connection.
    #[serde(with = "duration")]
    pub keep_alive: Duration,
    /// For the head of a request.
    #[serde(with = "duration")]
    pub head_timeout: Duration,
    /// For its body.
    #[serde(with = "duration")]
    pub body_timeout: Duration,
}

/// `[ingestion]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ingestion {
    /// Whether the outside topic is read.
    pub kafka_door: bool,
    /// Pacing gap between two batches.
    #[serde(with = "duration")]
    pub gather: Duration,
    /// Whether the client's label names a Kafka ask.
    pub request_id_is_identity: bool,
}

impl Settings {
    /// Reads and checks both sections.
    pub fn read(layers: &Layers, problems: &mut Problems) -> Option<Self> {
        let http = layers.section::<Http>("http", problems);
        let ingestion = layers.section::<Ingestion>("ingestion", problems);
        let (http, ingestion) = (http?, ingestion?);
        http.check(problems);
        if ingestion.gather > Duration::from_secs(1) {
            problems.add("ingestion.gather", "is longer than 1s: every request would wait for it under load");
        }
        Some(Self { http, ingestion })
    }
}

impl Http {
    fn check(&self, problems: &mut Problems) {
        let counts = [
            ("http.max_body", self.max_body),
            ("http.max_rows", self.max_rows),
            ("http.workers", self.workers),
            ("http.max_connections", self.max_connections),
        ];
        for (key, _) in counts.iter().filter(|(_, value)| *value == 0) {
            problems.add(*key, "is 0, expected at least 1");
        }
        for (key, time) in [("http.head_timeout", self.head_timeout), ("http.body_timeout", self.body_timeout)] {
            if time.is_zero() {
                problems.add(key, "is 0, expected a time");
            }
        }
        if self.in_flight < self.max_rows {
            let text =
                format!("is {}, less than the {} rows of one request (http.max_rows)", self.in_flight, self.max_rows);
            problems.add("http.in_flight", text);
        }
    }
}

#[cfg(test)]
mod tests {
    use forebay_runtime::{Bundle, SHARED_BUNDLE};

    use super::*;
    use crate::BUNDLE;

    fn read(flags: &[&str]) -> Result<Settings, String> {
        let bundles: [Bundle; 2] = [SHARED_BUNDLE, BUNDLE];
        let layers = Layers::from_parts(&bundles, "", &[], flags).map_err(|e| e.to_string())?;
        let mut problems = Problems::default();
        let settings = Settings::read(&layers, &mut problems);
        problems.into_result().map_err(|e| e.to_string())?;
        settings.ok_or_else(|| "none".to_owned())
    }

    #[test]
    fn the_defaults_are_sound() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.http.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(settings.http.max_body, 1 << 20);
        assert_eq!(settings.ingestion.gather, Duration::from_millis(5));
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let error = read(&["http.workers=0", "http.in_flight=10", "ingestion.gather=2s"]).unwrap_err();
        for key in ["http.workers", "http.in_flight", "ingestion.gather"] {
            assert!(error.contains(key), "{error}");
        }
    }
}

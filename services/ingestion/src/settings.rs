//! Settings of this service; `settings.toml` says what each means.

mod auth;
mod http;

use std::time::Duration;

use forebay_registry::ModelSettings;
use forebay_runtime::{Layers, Problems, duration};
use serde::Deserialize;

pub use auth::{AuthSettings, JwtSettings};
pub use http::{HttpSettings, HttpTlsSettings};

/// All sections, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The HTTP server.
    pub http: HttpSettings,
    /// Who may use it.
    pub auth: AuthSettings,
    /// The request topic, and batching.
    pub ingestion: IngestionSettings,
    /// The default model, and the stage or alias that answers for it.
    pub models: ModelSettings,
}

/// `[ingestion]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestionSettings {
    /// Whether requests are read from the request topic.
    pub kafka: bool,
    /// Interval between two batches under load.
    #[serde(with = "duration")]
    pub batch_interval: Duration,
    /// Whether the client's `request_id` identifies a Kafka request.
    pub request_id_is_identity: bool,
}

impl Settings {
    /// Reads and checks all sections.
    pub fn read(layers: &Layers, problems: &mut Problems) -> Option<Self> {
        let http = layers.section::<HttpSettings>("http", problems);
        let auth = layers.section::<AuthSettings>("auth", problems);
        let ingestion = layers.section::<IngestionSettings>("ingestion", problems);
        let models = ModelSettings::read(layers, problems);
        let (http, auth, ingestion, models) = (http?, auth?, ingestion?, models?);
        http.check(problems);
        crate::http::tls::check(&http.tls, problems);
        crate::auth::check(&auth, problems);
        if ingestion.batch_interval > Duration::from_secs(1) {
            let text = "is longer than 1s: under load every request would wait that long";
            problems.add("ingestion.batch_interval", text);
        }
        Some(Self { http, auth, ingestion, models })
    }
}

#[cfg(test)]
mod tests {
    use forebay_testkit::settings;

    use super::*;
    use crate::DEFAULTS;

    fn read(flags: &[&str]) -> Result<Settings, String> {
        settings(&[DEFAULTS]).flags(flags).read(Settings::read).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_are_valid() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.http.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(settings.http.max_body, 1 << 20);
        assert_eq!(settings.ingestion.batch_interval, Duration::from_millis(5));
        assert!(!settings.auth.is_on() && !settings.http.tls.is_on() && settings.http.cors_origins.is_empty());
    }

    #[test]
    fn incomplete_protection_is_rejected() {
        for (flags, key) in [
            (&["auth.jwt.jwks=https://issuer/keys", "auth.jwt.audience=us"][..], "auth.jwt.issuer"),
            (&["auth.jwt.jwks=https://issuer/keys", "auth.jwt.issuer=i"], "auth.jwt.audience"),
            (&["auth.jwt.jwks=http://issuer/keys"], "auth.jwt.jwks"),
            (&["auth.jwt.jwks=http://localhost.evil.org/keys"], "auth.jwt.jwks"),
            (&["auth.jwt.jwks=file:k", "auth.jwt.algorithms=HS256"], "auth.jwt.algorithms"),
            (&["auth.jwt.jwks=file:k", "auth.jwt.algorithms=none"], "auth.jwt.algorithms"),
            (&["auth.rate=5"], "auth: sets limits"),
            (&["auth.keys_file=no/such/file"], "auth.keys_file"),
            (&["http.tls.cert_file=no/such", "http.tls.key_file=no/such"], "http.tls.cert_file"),
            (&["http.tls.cert_file=c.pem"], "http.tls.key_file"),
            (&["http.tls.key_file=c.pem"], "http.tls.cert_file"),
            (&["http.tls.client_ca_file=c.pem"], "http.tls.client_ca_file"),
            (&["http.cors_origins=https://*.example.org"], "http.cors_origins"),
            (&["http.body_memory=1KiB"], "http.body_memory"),
        ] {
            let error = read(flags).unwrap_err();
            assert!(error.contains(key), "{flags:?}: {error}");
        }
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let error = read(&["http.workers=0", "http.in_flight=10", "ingestion.batch_interval=2s"]).unwrap_err();
        for key in ["http.workers", "http.in_flight", "ingestion.batch_interval"] {
            assert!(error.contains(key), "{error}");
        }
    }
}

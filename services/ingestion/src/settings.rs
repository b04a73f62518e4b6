//! Settings of this service; `settings.toml` says what each means.

mod async_results;
mod auth;
mod grpc;
mod http;
mod memory;
mod repository;

use std::time::Duration;

use forebay_bus::SchemaSettings;
use forebay_redis::RedisSettings;
use forebay_registry::ModelSettings;
use forebay_runtime::{Layers, Problems, SettingOrigin, duration, is_exposed};
use serde::Deserialize;

use crate::column_paths::ColumnPaths;

pub use async_results::{AsyncSettings, AsyncStore, CallbackAddresses};
pub use auth::{AuthSettings, JwtSettings};
pub use grpc::GrpcSettings;
pub use http::{HttpSettings, HttpTlsSettings};
pub use repository::RepositorySettings;

/// Where a consumer group that is new begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InitialOffset {
    /// At the end: what is in the topic already is left.
    Latest,
    /// At the beginning.
    Earliest,
}

/// The largest value of `ingestion.max_record_rows`.
const MAX_RECORD_ROWS: usize = 4096;

/// All sections, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The HTTP server.
    pub http: HttpSettings,
    /// The gRPC server.
    pub grpc: GrpcSettings,
    /// Who may use them.
    pub auth: AuthSettings,
    /// Requests that are answered later.
    pub async_results: AsyncSettings,
    /// Where their answers may be.
    pub redis: RedisSettings,
    /// Whether requests load and unload models.
    pub repository: RepositorySettings,
    /// Where the schemas of records are.
    pub schemas: SchemaSettings,
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
    /// Whether the result of a Kafka request has the key of its record.
    pub propagate_key: bool,
    /// Names of the headers of a request's record that its result has as well; `*` for all.
    pub propagate_headers: Vec<String>,
    /// Where a consumer group that is new begins to read the request topic.
    pub initial_offset: InitialOffset,
    /// Most rows of a record of the request topic.
    pub max_record_rows: usize,
    /// The model of records that name none; empty for the default model.
    pub record_model: String,
    /// Where columns stand in records that have not the fields of a request: `COLUMN=FIELD.FIELD`.
    pub(crate) record_columns: ColumnPaths,
    /// Most values of a row, over every protocol; 0 for 4,096 or the width of the widest version of its model.
    pub max_row_values: usize,
}

impl IngestionSettings {
    fn check(&self, problems: &mut Problems) {
        if self.batch_interval > Duration::from_secs(1) {
            let text = "is longer than 1s: under load every request would wait that long";
            problems.add("ingestion.batch_interval", text);
        }
        if !(1..=MAX_RECORD_ROWS).contains(&self.max_record_rows) {
            let text = format!("is {}, expected 1 to {MAX_RECORD_ROWS}", self.max_record_rows);
            problems.add("ingestion.max_record_rows", text);
        }
        if !self.record_columns.is_empty() && self.max_record_rows > 1 {
            let text = "is set, and such a record is one row: leave ingestion.max_record_rows at 1";
            problems.add("ingestion.record_columns", text);
        }
    }
}

impl Settings {
    /// As [`Settings::read`], for a process that opens the HTTP listener: its callers have to be known, or welcome.
    pub fn read_to_serve(layers: &Layers, problems: &mut Problems) -> Option<Self> {
        let settings = Self::read(layers, problems)?;
        settings.check_callers(problems);
        Some(settings)
    }

    /// Reads and checks all sections. Commands that open no listener need no more.
    pub fn read(layers: &Layers, problems: &mut Problems) -> Option<Self> {
        let http = layers.section::<HttpSettings>("http", problems);
        let grpc = layers.section::<GrpcSettings>("grpc", problems);
        let auth = layers.section::<AuthSettings>("auth", problems);
        let async_results = layers.section::<AsyncSettings>("async", problems);
        let redis = RedisSettings::read(layers, problems);
        let repository = layers.section::<RepositorySettings>("repository", problems);
        let schemas = SchemaSettings::read(layers, problems);
        let ingestion = layers.section::<IngestionSettings>("ingestion", problems);
        let models = ModelSettings::read(layers, problems);
        let (http, grpc, auth, schemas, ingestion, models) = (http?, grpc?, auth?, schemas?, ingestion?, models?);
        let (async_results, redis, repository) = (async_results?, redis?, repository?);
        async_results.check(&redis, problems);
        repository.check(&auth, problems);
        http.check(problems);
        grpc.check(problems);
        crate::http::tls::check(&http.tls, problems);
        crate::auth::check(&auth, problems);
        check_empty_variables(&http, &auth, layers, problems);
        ingestion.check(problems);
        Some(Self { http, grpc, auth, async_results, redis, repository, schemas, ingestion, models })
    }

    /// An endpoint that other machines can reach needs credentials or `auth.anonymous`.
    pub fn check_callers(&self, problems: &mut Problems) {
        let grpc = self.grpc.enabled && is_exposed(self.grpc.listen);
        let (exposed, key, listen) = match is_exposed(self.http.listen) {
            true => (true, "http.listen", self.http.listen),
            false => (grpc, "grpc.listen", self.grpc.listen),
        };
        if exposed && !self.auth.is_on() && !self.auth.anonymous {
            let text = format!(
                "requires credentials, because other machines can reach {key} ({listen}): set auth.keys_file \
                 (`forebay keys init` makes the file and a certificate) or auth.jwt.jwks, or let everyone in with \
                 auth.anonymous=true"
            );
            problems.add("auth", text);
        }
    }
}

/// A variable that is set and empty is a template that was not filled in, not the wish to do without protection.
fn check_empty_variables(http: &HttpSettings, auth: &AuthSettings, layers: &Layers, problems: &mut Problems) {
    let files = [
        ("auth.keys_file", &auth.keys_file),
        ("auth.jwt.jwks", &auth.jwt.jwks),
        ("http.tls.cert_file", &http.tls.cert_file),
        ("http.tls.client_ca_file", &http.tls.client_ca_file),
    ];
    for (key, value) in files {
        if value.is_empty() && matches!(layers.origin(key), Some(SettingOrigin::Environment(_))) {
            problems.add(key, "is empty: remove the variable to do without");
        }
    }
}

#[cfg(test)]
mod tests {
    use forebay_testkit::settings;

    use super::*;
    use crate::DEFAULTS;

    fn read(flags: &[&str]) -> Result<Settings, String> {
        settings(&[forebay_redis::DEFAULTS, DEFAULTS])
            .flags(flags)
            .read(Settings::read_to_serve)
            .map_err(|error| error.to_string())
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
            (&["schemas.registry=registry:8081"], "schemas.registry"),
            (&["repository.writable=true"], "repository.writable"),
            (&["ingestion.max_record_rows=0"], "ingestion.max_record_rows"),
            (&["ingestion.record_columns=a=b.d,c=b"], "ingestion.record_columns"),
            (&["ingestion.record_columns=a", "ingestion.max_record_rows=2"], "ingestion.record_columns"),
        ] {
            let error = read(flags).unwrap_err();
            assert!(error.contains(key), "{flags:?}: {error}");
        }
    }

    #[test]
    fn an_endpoint_that_others_can_reach_requires_credentials_or_the_word_anonymous() {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        std::fs::write(&keys, "# no keys\n").unwrap();
        let keys = format!("auth.keys_file={}", keys.display());
        for listen in ["0.0.0.0:0", "[::]:0", "10.0.0.1:80"] {
            for listener in ["http", "grpc"] {
                let listen = format!("{listener}.listen={listen}");
                let error = read(&[&listen]).unwrap_err();
                let listener = format!("{listener}.listen (");
                for part in [&listener, "auth.keys_file", "forebay keys init", "auth.jwt.jwks", "auth.anonymous=true"] {
                    assert!(error.contains(part), "{error}");
                }
                assert!(read(&[&listen, "auth.anonymous=true"]).unwrap().auth.anonymous);
                read(&[&listen, &keys]).unwrap();
            }
        }
        for listen in ["127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
            read(&[&format!("http.listen={listen}")]).unwrap();
        }
    }

    #[test]
    fn a_variable_that_is_set_and_empty_does_not_turn_protection_off() {
        for (variable, key) in [
            ("FOREBAY__AUTH__KEYS_FILE", "auth.keys_file"),
            ("FOREBAY__AUTH__JWT__JWKS", "auth.jwt.jwks"),
            ("FOREBAY__HTTP__TLS__CERT_FILE", "http.tls.cert_file"),
            ("FOREBAY__HTTP__TLS__CLIENT_CA_FILE", "http.tls.client_ca_file"),
        ] {
            let layers = Layers::from_parts(
                &[forebay_runtime::COMMON_DEFAULTS, forebay_redis::DEFAULTS, DEFAULTS],
                "",
                &[(variable, "")],
                &[],
            );
            let layers = layers.unwrap();
            let mut problems = layers.problems();
            Settings::read(&layers, &mut problems);
            let found: Vec<_> = problems.iter().map(|problem| problem.key.as_str()).collect();
            assert_eq!(found, [key]);
        }
        let written_out = "[auth]\nkeys_file = \"\"\n[http.tls]\ncert_file = \"\"\n";
        settings(&[forebay_redis::DEFAULTS, DEFAULTS]).file(written_out).read(Settings::read).unwrap();
    }

    #[test]
    fn all_problems_are_reported_at_once() {
        let error = read(&["http.workers=0", "http.in_flight=10", "ingestion.batch_interval=2s"]).unwrap_err();
        for key in ["http.workers", "http.in_flight", "ingestion.batch_interval"] {
            assert!(error.contains(key), "{error}");
        }
    }
}

//! Reads the issuer's keys from a file or a URL. Blocking, for threads that may block.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forebay_runtime::{shown, without_password};
use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::key_set::KeySet;
use crate::settings::JwtSettings;

/// Maximum size of the key set and of the file of authorities, in bytes.
const MAX_SIZE: u64 = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where the keys are read from.
#[derive(Debug)]
pub(super) struct JwksSource {
    location: JwksLocation,
    /// The location without a password.
    shown: String,
}

#[derive(Debug)]
enum JwksLocation {
    File(PathBuf),
    Url(String, Box<Agent>),
}

impl JwksSource {
    /// A source according to the settings. Nothing is read yet.
    ///
    /// # Errors
    /// If the file of authorities cannot be used.
    pub(super) fn new(settings: &JwtSettings) -> Result<Self, String> {
        let shown = settings.shown();
        if let Some(path) = settings.jwks.strip_prefix("file:") {
            return Ok(Self { location: JwksLocation::File(path.into()), shown });
        }
        let mut tls = TlsConfig::builder();
        if !settings.ca_file.is_empty() {
            tls = tls.root_certs(RootCerts::Specific(Arc::new(authorities(&settings.ca_file)?)));
        }
        let secure = settings.jwks.starts_with("https://");
        let mut config = Agent::config_builder()
            .tls_config(tls.build())
            .https_only(secure)
            // if the key set moves, the settings must say so
            .max_redirects(0)
            .timeout_global(Some(TIMEOUT))
            .user_agent(concat!("forebay/", env!("CARGO_PKG_VERSION")));
        if !secure {
            config = config.proxy(None); // this machine
        }
        let agent = Box::new(config.build().new_agent());
        Ok(Self { location: JwksLocation::Url(settings.jwks.clone(), agent), shown })
    }

    /// The location without a password, for logs.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Reads the keys.
    ///
    /// # Errors
    /// If they cannot be reached, or are not a key set.
    pub(super) fn read(&self) -> Result<KeySet, String> {
        let json = match &self.location {
            JwksLocation::File(path) => {
                let mut json = Vec::new();
                let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
                file.take(MAX_SIZE).read_to_end(&mut json).map_err(|error| format!("cannot be read: {error}"))?;
                json
            }
            JwksLocation::Url(url, agent) => {
                let failed = |error: ureq::Error| format!("does not answer: {}", without_password(&error.to_string()));
                let mut response = agent.get(url).call().map_err(failed)?;
                if !response.status().is_success() {
                    return Err(format!("answers with status {}", response.status().as_u16()));
                }
                response.body_mut().with_config().limit(MAX_SIZE).read_to_vec().map_err(failed)?
            }
        };
        KeySet::parse(&json)
    }
}

fn authorities(path: &str) -> Result<Vec<ureq::tls::Certificate<'static>>, String> {
    let failed = |error: String| format!("{}: {error}", shown("auth.jwt.ca_file", path));
    let mut pem = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    file.take(MAX_SIZE).read_to_end(&mut pem).map_err(|error| failed(error.to_string()))?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| failed(error.to_string()))? {
            found.push(certificate);
        }
    }
    if found.is_empty() { Err(failed("holds no certificate in PEM form".to_owned())) } else { Ok(found) }
}

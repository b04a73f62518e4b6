//! Where the issuer's keys are read: a file or an address. Blocking, for threads that may wait.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forebay_runtime::{shown, without_password};
use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::key_set::KeySet;
use crate::settings::Jwt;

/// The largest key set and the largest file of authorities.
const LARGEST: u64 = 1 << 20;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where the keys are.
#[derive(Debug)]
pub(super) struct Issuer {
    place: Place,
    shown: String,
}

#[derive(Debug)]
enum Place {
    File(PathBuf),
    Address(String, Box<Agent>),
}

impl Issuer {
    /// Prepares to read.
    ///
    /// # Errors
    /// When the file of authorities cannot be used.
    pub(super) fn new(settings: &Jwt) -> Result<Self, String> {
        let told = settings.shown();
        if let Some(path) = settings.jwks.strip_prefix("file:") {
            return Ok(Self { place: Place::File(path.into()), shown: told });
        }
        let mut tls = TlsConfig::builder();
        if !settings.ca_file.is_empty() {
            tls = tls.root_certs(RootCerts::Specific(Arc::new(authorities(&settings.ca_file)?)));
        }
        let secure = settings.jwks.starts_with("https://");
        let mut config = Agent::config_builder()
            .tls_config(tls.build())
            .https_only(secure)
            // a key set that is elsewhere today is the settings' business
            .max_redirects(0)
            .timeout_global(Some(TIMEOUT))
            .user_agent(concat!("forebay/", env!("CARGO_PKG_VERSION")));
        if !secure {
            config = config.proxy(None); // this machine
        }
        let agent = Box::new(config.build().new_agent());
        Ok(Self { place: Place::Address(settings.jwks.clone(), agent), shown: told })
    }

    /// The place without a password, for logs.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Reads the keys.
    ///
    /// # Errors
    /// When they cannot be reached, or are no key set.
    pub(super) fn read(&self) -> Result<KeySet, String> {
        let json = match &self.place {
            Place::File(path) => {
                let mut json = Vec::new();
                let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
                file.take(LARGEST).read_to_end(&mut json).map_err(|error| format!("cannot be read: {error}"))?;
                json
            }
            Place::Address(url, agent) => {
                let wrong = |error: ureq::Error| format!("does not answer: {}", without_password(&error.to_string()));
                let mut response = agent.get(url).call().map_err(wrong)?;
                if !response.status().is_success() {
                    return Err(format!("answers with status {}", response.status().as_u16()));
                }
                response.body_mut().with_config().limit(LARGEST).read_to_vec().map_err(wrong)?
            }
        };
        KeySet::parse(&json)
    }
}

fn authorities(path: &str) -> Result<Vec<ureq::tls::Certificate<'static>>, String> {
    let wrong = |error: String| format!("{}: {error}", shown("auth.jwt.ca_file", path));
    let mut pem = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
    file.take(LARGEST).read_to_end(&mut pem).map_err(|error| wrong(error.to_string()))?;
    let mut found = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| wrong(error.to_string()))? {
            found.push(certificate);
        }
    }
    if found.is_empty() { Err(wrong("holds no certificate in PEM form".to_owned())) } else { Ok(found) }
}

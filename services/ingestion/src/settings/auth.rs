//! The section `[auth]`: who may use the HTTP server, and how much.

use std::time::Duration;

use forebay_runtime::{duration, size, without_password};
use serde::Deserialize;

use super::HttpSettings;
use crate::auth::RowLoad;

/// `[auth]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthSettings {
    /// File of API keys; empty for none.
    pub keys_file: String,
    /// Whether an endpoint that other machines can reach may serve everyone.
    pub anonymous: bool,
    /// Interval between two checks of that file.
    #[serde(with = "duration")]
    pub refresh: Duration,
    /// Average requests per second of one caller; 0 for no limit.
    pub rate: u32,
    /// Requests of one caller in a burst; 0 for one second's worth.
    pub burst: u32,
    /// Rows of one caller per day (UTC); 0 for no limit.
    pub daily_rows: u64,
    /// Rows of one caller that may wait for their answers; 0 for a quarter of `http.in_flight`.
    pub in_flight: usize,
    /// Their bytes, and those of bodies on their way; 0 for a quarter of `http.body_memory`.
    #[serde(with = "size")]
    pub in_flight_memory: usize,
    /// Whether each caller has cached answers of its own.
    pub separate_cache: bool,
    /// Tokens.
    pub jwt: JwtSettings,
}

/// Minimum interval between two reads of the issuer's keys that tokens with unknown keys cause, so that such tokens do not
/// flood the issuer with requests.
const UNKNOWN_KEY_COOLDOWN: Duration = Duration::from_secs(10);

fn unknown_key_cooldown() -> Duration {
    UNKNOWN_KEY_COOLDOWN
}

/// `[auth.jwt]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtSettings {
    /// Location of the issuer's keys: `https://...` or `file:PATH`; if empty, no tokens are accepted. The URL may hold a
    /// password: show [`JwtSettings::shown`] instead.
    pub jwks: String,
    /// Expected `iss`.
    pub issuer: String,
    /// Expected `aud`.
    pub audience: String,
    /// Accepted signature algorithms, by their names in RFC 7518.
    pub algorithms: Vec<String>,
    /// Required scope; empty for none.
    pub scope: String,
    /// Claim that lists the models that the token is for; empty if tokens are for all models.
    pub models_claim: String,
    /// Interval between two reads of the keys.
    #[serde(with = "duration")]
    pub refresh: Duration,
    /// Minimum interval between two reads that unknown keys cause. Not a setting: only tests change it.
    #[serde(skip, default = "unknown_key_cooldown")]
    pub cooldown: Duration,
    /// File of authorities for `https://`; empty for the usual ones.
    pub ca_file: String,
}

impl AuthSettings {
    /// Whether callers need credentials.
    pub fn is_on(&self) -> bool {
        self.has_keys() || self.jwt.is_on()
    }

    /// What one caller may have in flight of what `http` allows.
    pub(crate) fn load_of_caller(&self, http: &HttpSettings) -> RowLoad {
        let or_quarter = |set: usize, all: usize, least: usize| if set > 0 { set } else { (all / 4).max(least) };
        RowLoad {
            rows: or_quarter(self.in_flight, http.in_flight, http.max_rows),
            // a compressed body counts for as much as it may become beside what has come of it
            bytes: or_quarter(self.in_flight_memory, http.body_memory, 2 * http.max_body),
        }
    }

    /// Whether API keys are accepted.
    pub fn has_keys(&self) -> bool {
        !self.keys_file.is_empty()
    }
}

impl JwtSettings {
    /// Whether tokens are accepted.
    pub fn is_on(&self) -> bool {
        !self.jwks.is_empty()
    }

    /// The location of the keys without a password.
    pub fn shown(&self) -> String {
        without_password(&self.jwks)
    }
}

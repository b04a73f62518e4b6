//! The section `[auth]`: who may use the HTTP door, and how much.

use std::time::Duration;

use forebay_runtime::{Problems, duration, without_password};
use serde::Deserialize;

/// `[auth]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// File of API keys; empty for none.
    pub keys_file: String,
    /// Between two looks at it.
    #[serde(with = "duration")]
    pub refresh: Duration,
    /// Requests a second of one caller; 0 for no limit.
    pub rate: u32,
    /// Of them at once; 0 for one second's worth.
    pub burst: u32,
    /// Rows of one caller in a day; 0 for no limit.
    pub daily_rows: u64,
    /// Tokens.
    pub jwt: Jwt,
}

/// `[auth.jwt]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwt {
    /// Where the issuer's keys are: `https://...` or `file:PATH`; empty takes no tokens. May hold a password: show
    /// [`Jwt::shown`] instead.
    pub jwks: String,
    /// Expected `iss`.
    pub issuer: String,
    /// Expected `aud`.
    pub audience: String,
    /// Accepted signatures, by their names in RFC 7518.
    pub algorithms: Vec<String>,
    /// Needed scope; empty for none.
    pub scope: String,
    /// Difference of clocks.
    #[serde(with = "duration")]
    pub leeway: Duration,
    /// Between two reads of the keys.
    #[serde(with = "duration")]
    pub refresh: Duration,
    /// Least time between two reads for the sake of an unknown key.
    #[serde(with = "duration")]
    pub cooldown: Duration,
    /// Authorities for `https://`; empty for the usual ones.
    pub ca_file: String,
}

impl Auth {
    /// Whether callers need credentials.
    pub fn is_on(&self) -> bool {
        self.has_keys() || self.jwt.is_on()
    }

    /// Whether API keys are taken.
    pub fn has_keys(&self) -> bool {
        !self.keys_file.is_empty()
    }

    pub(super) fn check(&self, problems: &mut Problems) {
        if self.refresh < Duration::from_millis(50) {
            problems.add("auth.refresh", "is under 50ms, expected at least that");
        }
        let limited = self.rate > 0 || self.burst > 0 || self.daily_rows > 0;
        if limited && !self.is_on() {
            problems.add(
                "auth",
                "sets limits for callers, but nothing tells callers apart: set auth.keys_file or auth.jwt.jwks",
            );
        }
        if self.burst > 0 && self.rate == 0 {
            problems.add("auth.burst", "is set without auth.rate");
        }
        if self.has_keys()
            && let Err(why) = crate::auth::check_keys(&self.keys_file)
        {
            problems.add("auth.keys_file", why);
        }
        self.jwt.check(problems);
    }
}

impl Jwt {
    /// Whether tokens are taken.
    pub fn is_on(&self) -> bool {
        !self.jwks.is_empty()
    }

    /// The address of the keys without a password.
    pub fn shown(&self) -> String {
        without_password(&self.jwks)
    }

    fn check(&self, problems: &mut Problems) {
        if !self.is_on() {
            return;
        }
        for (key, value) in [("auth.jwt.issuer", &self.issuer), ("auth.jwt.audience", &self.audience)] {
            if value.trim().is_empty() {
                problems.add(key, "is empty: without it a token that was made for somebody else would be taken");
            }
        }
        if self.algorithms.is_empty() {
            problems.add("auth.jwt.algorithms", "is empty, expected at least one");
        }
        for name in &self.algorithms {
            if let Err(why) = crate::auth::algorithm(name) {
                problems.add("auth.jwt.algorithms", why);
            }
        }
        let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"].iter().any(|host| {
            self.jwks.strip_prefix(host).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':']))
        });
        if !(self.jwks.starts_with("https://") || self.jwks.starts_with("file:") || local) {
            problems.add("auth.jwt.jwks", "is neither https://... nor file:PATH (http:// only on this machine)");
        }
        if self.leeway > Duration::from_secs(600) {
            problems.add("auth.jwt.leeway", "is longer than 10m");
        }
        for (key, time) in [("auth.jwt.refresh", self.refresh), ("auth.jwt.cooldown", self.cooldown)] {
            if time < Duration::from_millis(50) {
                problems.add(key, "is under 50ms, expected at least that");
            }
        }
    }
}

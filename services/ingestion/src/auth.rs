//! Who calls the HTTP server, and how much each caller may use.
//!
//! A caller presents an API key or a token (JWT). Keys are 256 random bits, so storing their SHA-256 is enough; tokens are
//! checked against the public keys of their issuer. This module does not depend on HTTP: `http` reads the headers.
//!
//! # Layout
//! - [`Authenticator`]: checks one request
//! - [`Caller`]: who was recognised; `rate_limit`: how much of its limits is left
//! - [`ApiKey`]: the text of a key and its hash; `key_file`: the lines of the file; `key_ring`: the keys in use
//! - `cache_scope`: which callers share cached answers
//! - `tokens`: the rules for tokens; `key_set`: the keys of the issuer; `jwks_source`: where they are read;
//!   `ring_provider`: signature verification with ring
//! - `metrics`: what is counted

mod api_key;
mod authenticator;
mod cache_scope;
mod caller;
mod claims;
mod jwks_source;
mod key_file;
mod key_ring;
mod key_set;
mod metrics;
mod rate_limit;
mod ring_provider;
mod tokens;

use std::time::Duration;

use forebay_runtime::Problems;

use crate::settings::{AuthSettings, JwtSettings};

pub use api_key::{ApiKey, KeyHash};
pub use authenticator::{AuthenticatedCaller, Authenticator, RequestCredentials};
pub use cache_scope::CacheScopes;
pub use caller::{Caller, CallerRows, RowLoad};
pub use key_file::{KeyLine, KeyOptions, parse as parse_keys, time as parse_time};

/// Checks the section `[auth]`, files included. No message shows a part of a key.
pub(crate) fn check(auth: &AuthSettings, problems: &mut Problems) {
    if auth.refresh < Duration::from_millis(50) {
        problems.add("auth.refresh", "is shorter than 50ms, the minimum");
    }
    let limited = auth.rate > 0 || auth.burst > 0 || auth.daily_rows > 0;
    if limited && !auth.is_on() {
        problems.add(
            "auth",
            "sets limits for callers, but nothing identifies callers: set auth.keys_file or auth.jwt.jwks",
        );
    }
    if auth.burst > 0 && auth.rate == 0 {
        problems.add("auth.burst", "is set without auth.rate");
    }
    if auth.has_keys()
        && let Err(error) = key_ring::lines(auth.keys_file.as_ref())
    {
        let file = forebay_runtime::shown("auth.keys_file", &auth.keys_file);
        problems.add("auth.keys_file", format!("{file}: {error}"));
    }
    check_jwt(&auth.jwt, problems);
}

fn check_jwt(jwt: &JwtSettings, problems: &mut Problems) {
    if !jwt.is_on() {
        return;
    }
    for (key, value) in [("auth.jwt.issuer", &jwt.issuer), ("auth.jwt.audience", &jwt.audience)] {
        if value.trim().is_empty() {
            problems.add(key, "is empty: tokens issued for other services would be accepted");
        }
    }
    if jwt.algorithms.is_empty() {
        problems.add("auth.jwt.algorithms", "is empty, expected at least one");
    }
    for name in &jwt.algorithms {
        if let Err(why) = tokens::algorithm(name) {
            problems.add("auth.jwt.algorithms", why);
        }
    }
    let local = ["http://127.0.0.1", "http://localhost", "http://[::1]"]
        .iter()
        .any(|host| jwt.jwks.strip_prefix(host).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':'])));
    if !(jwt.jwks.starts_with("https://") || jwt.jwks.starts_with("file:") || local) {
        problems.add("auth.jwt.jwks", "is neither https://... nor file:PATH (http:// only on this machine)");
    }
    if jwt.refresh < Duration::from_millis(50) {
        problems.add("auth.jwt.refresh", "is shorter than 50ms, the minimum");
    }
}

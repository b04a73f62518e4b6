//! Who asks at the HTTP door, and how much each may ask.
//!
//! A caller shows an API key or a token (JWT). Keys are random and of 256 bits, so the door keeps their SHA-256 alone; tokens
//! are checked against the issuer's public keys. Nothing here knows HTTP: `doors` reads the headers.
//!
//! # Layout
//! - [`Gate`]: the check of one request
//! - [`Caller`]: who was recognised; `allowance`: how much is left of what it may do
//! - [`ApiKey`]: the text of a key and its hash; `key_file`: the lines of the file; `key_ring`: the keys that count now
//! - `tokens`: what a token must be; `key_set`: the issuer's keys; `issuer`: where they are read; `ring_provider`: their
//!   arithmetic
//! - `counts`: metrics

mod allowance;
mod api_key;
mod caller;
mod counts;
mod gate;
mod issuer;
mod key_file;
mod key_ring;
mod key_set;
mod ring_provider;
mod tokens;

pub use api_key::{ApiKey, KeyHash};
pub use caller::Caller;
pub use gate::{Admitted, Credentials, Gate};
pub use key_file::{KeyLine, Terms, parse as parse_keys, time as parse_time};
pub(crate) use tokens::algorithm;

/// Whether the file of keys at `path` can be used.
///
/// # Errors
/// What is wrong with it; never a part of a line, nor a key that stands in place of the path.
pub(crate) fn check_keys(path: &str) -> Result<(), String> {
    let told = |error| format!("{}: {error}", forebay_runtime::shown("auth.keys_file", path));
    key_ring::lines(path.as_ref()).map(drop).map_err(told)
}

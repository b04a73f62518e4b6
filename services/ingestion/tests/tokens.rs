//! Tokens (JWT), against a small issuer on loopback. Tokens are signed here with ring and assembled by hand, so that the
//! library under test does not check itself.
#![cfg(test)]

mod mesh;

#[path = "tokens/callers.rs"]
mod callers;
#[path = "tokens/claims.rs"]
mod claims;
#[path = "tokens/forgeries.rs"]
mod forgeries;
#[path = "tokens/issuer.rs"]
mod issuer;
#[path = "tokens/issuer_keys.rs"]
mod issuer_keys;

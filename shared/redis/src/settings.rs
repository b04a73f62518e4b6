//! The section `[redis]`; `settings.toml` documents each key.

use std::path::PathBuf;
use std::time::Duration;

use forebay_runtime::{Layers, Problems, Secret};
use serde::Deserialize;

/// `[redis]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// Address of the server; empty for none.
    pub url: Secret,
    /// Name of the ACL user; empty means the one in `url`, else the server's default user.
    pub username: String,
    /// Password of the user; empty means the one in `url`, if any.
    pub password: Secret,
    /// PEM file of the authorities that may sign the server's certificate; empty means the machine's.
    pub ca_file: PathBuf,
    /// PEM file of the client certificate with its chain; empty means none.
    pub client_cert_file: PathBuf,
    /// PEM file of the client certificate's private key.
    pub client_key_file: PathBuf,
    /// Longest time for one lookup or one store of the cache.
    #[serde(with = "forebay_runtime::duration")]
    pub timeout: Duration,
    /// Consecutive failures that open the circuit breaker of the cache.
    pub breaker_failures: u32,
    /// How long the circuit breaker stays open before a probe.
    #[serde(with = "forebay_runtime::duration")]
    pub breaker_open: Duration,
    /// Prefix of every key.
    pub prefix: String,
}

impl RedisSettings {
    /// Reads and checks the section; adds everything that is wrong to `problems`.
    pub fn read(layers: &Layers, problems: &mut Problems) -> Option<Self> {
        let redis = layers.section::<Self>("redis", problems)?;
        if redis.timeout.is_zero() {
            problems.add("redis.timeout", "is 0, expected a duration such as \"20ms\"");
        }
        if redis.breaker_failures == 0 {
            problems.add("redis.breaker_failures", "is 0, expected at least 1");
        }
        if !redis.url.is_empty()
            && let Err(invalid) = redis.client()
        {
            problems.add(invalid.key, invalid.text);
        }
        Some(redis)
    }
}

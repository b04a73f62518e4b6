//! The section `[async]`: requests that are answered later.

use std::time::Duration;

use forebay_redis::RedisSettings;
use forebay_runtime::{Problems, Secret, duration, size};
use serde::Deserialize;

use crate::async_results::{AllowedTarget, secret_bytes};

/// `[async]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AsyncSettings {
    /// Where answers wait for their callers.
    pub store: AsyncStore,
    /// How long an answer waits.
    #[serde(with = "duration")]
    pub ttl: Duration,
    /// Most requests within `ttl` that this replica accepts.
    pub max_requests: usize,
    /// Bytes of the answers that this process keeps itself.
    #[serde(with = "size")]
    pub memory: usize,
    /// Where answers may be posted: the beginnings of addresses.
    pub callbacks: Vec<String>,
    /// Signs what is posted; base64 of 24 to 64 bytes.
    pub callback_secret: Secret,
    /// Which addresses the names of `callbacks` may have.
    pub callback_addresses: CallbackAddresses,
    /// How long posting an answer is tried.
    #[serde(with = "duration")]
    pub callback_retry: Duration,
}

/// Which addresses may be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallbackAddresses {
    /// Those of the internet.
    Public,
    /// Those of the own network as well.
    Any,
}

/// Where answers wait for their callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AsyncStore {
    /// Memory if no other replica can be asked for the answer, else nowhere.
    Auto,
    /// This process. Only where all stages share it.
    Memory,
    /// Redis: every replica has every answer.
    Redis,
    /// Nowhere: every request is answered on its connection.
    Off,
}

/// Room for the answers of about a hundred requests.
const LEAST_MEMORY: usize = 64 << 10;
const MAX_TTL: Duration = Duration::from_secs(24 * 3600);

impl AsyncSettings {
    pub(super) fn check(&self, redis: &RedisSettings, problems: &mut Problems) {
        if !(Duration::from_secs(1)..=MAX_TTL).contains(&self.ttl) {
            problems.add("async.ttl", "is out of range, expected \"1s\" to \"1d\"");
        }
        if self.max_requests == 0 {
            problems.add("async.max_requests", "is 0; store = \"off\" turns these requests off");
        }
        if self.memory < LEAST_MEMORY {
            problems.add("async.memory", "is too small, expected at least \"64KiB\"");
        }
        if self.callback_retry.is_zero() {
            problems.add("async.callback_retry", "is 0, expected a duration such as \"10m\"");
        }
        if self.store == AsyncStore::Off && !self.callbacks.is_empty() {
            problems.add("async.callbacks", "allows addresses, but async.store is \"off\"");
        }
        if self.store == AsyncStore::Redis && redis.url.is_empty() {
            problems.add("async.store", "is \"redis\", but redis.url is empty");
        }
        for text in &self.callbacks {
            if let Err(why) = AllowedTarget::parse(text) {
                problems.add("async.callbacks", format!("{text:?} {why}"));
            }
        }
        if !self.callbacks.is_empty() && secret_bytes(self.callback_secret.expose()).is_none() {
            let text = "is not the base64 of 24 to 64 bytes; `openssl rand -base64 32` makes one";
            problems.add("async.callback_secret", text);
        }
    }
}

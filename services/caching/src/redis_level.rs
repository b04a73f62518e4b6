//! The second level in Redis: one MGET per batch, one pipeline of SETs per batch of predictions.
//!
//! It wants a server with `maxmemory` and an LRU policy, and not a cluster: the keys of one MGET have no common slot.

use std::fmt;
use std::time::Duration;

use forebay_contract::CacheKey;
use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Pipeline, RedisError};

use crate::redis_address::is_refusal;
use crate::second_level::{Reply, SecondLevel, Trouble, Write};

/// Longer than a look may take: a connection that is slow to open is there for a later one.
const CONNECT: Duration = Duration::from_secs(2);

/// A connection that opens itself anew, and is replaced when it says nothing.
pub struct RedisLevel {
    client: Client,
    prefix: String,
    link: Mutex<ConnectionManager>,
}

impl fmt::Debug for RedisLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLevel").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl RedisLevel {
    /// Opens in the background; a server that is not there is found out later. Needs a tokio runtime around it.
    ///
    /// # Errors
    /// When `url` is not the address of a Redis.
    pub fn open(url: &str, prefix: impl Into<String>) -> Result<Self, RedisError> {
        Self::with_client(Client::open(url)?, prefix)
    }

    /// As [`RedisLevel::open`], with the login and certificates that `client` has.
    ///
    /// # Errors
    /// When the client's TLS settings cannot be used.
    pub fn with_client(client: Client, prefix: impl Into<String>) -> Result<Self, RedisError> {
        let link = connect(&client, true)?;
        Ok(Self { client, prefix: prefix.into(), link: Mutex::new(link) })
    }

    fn name(&self, key: &CacheKey) -> Vec<u8> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut name = Vec::with_capacity(self.prefix.len() + 64);
        name.extend_from_slice(self.prefix.as_bytes());
        for byte in key.0 {
            name.extend([byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]));
        }
        name
    }

    fn link(&self) -> ConnectionManager {
        self.link.lock().clone()
    }
}

impl SecondLevel for RedisLevel {
    fn get(&self, keys: Vec<CacheKey>) -> Reply<Vec<Option<Vec<u8>>>> {
        let mut command = redis::cmd("MGET");
        for key in &keys {
            command.arg(self.name(key));
        }
        let mut link = self.link();
        Box::pin(async move { command.query_async(&mut link).await.map_err(trouble) })
    }

    fn put(&self, writes: Vec<Write>) -> Reply<()> {
        let mut pipeline = Pipeline::with_capacity(writes.len());
        for Write { key, bytes, ttl_s } in writes {
            pipeline.cmd("SET").arg(self.name(&key)).arg(bytes).arg("EX").arg(ttl_s).ignore();
        }
        let mut link = self.link();
        Box::pin(async move { pipeline.query_async::<()>(&mut link).await.map_err(trouble) })
    }

    fn renew(&self) {
        match connect(&self.client, false) {
            Ok(link) => *self.link.lock() = link,
            Err(error) => tracing::warn!(%error, "redis connection cannot be renewed"),
        }
    }
}

/// A lazy connection whose opening goes on even when the look that wanted it has timed out.
fn connect(client: &Client, first: bool) -> Result<ConnectionManager, RedisError> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(CONNECT))
        .set_number_of_retries(0);
    let link = ConnectionManager::new_lazy_with_config(client.clone(), config)?;
    let mut opening = link.clone();
    tokio::spawn(async move {
        if let Err(error) = redis::cmd("PING").query_async::<()>(&mut opening).await {
            // later refusals are told when the breaker opens, once
            if first && is_refusal(&error) {
                tracing::warn!(%error, "redis does not let this client in, answers are kept in memory only until it does");
            } else {
                tracing::debug!(%error, "redis is not reached yet");
            }
        }
    });
    Ok(link)
}

fn trouble(error: RedisError) -> Trouble {
    if error.is_timeout() { Trouble::Timeout } else { Trouble::Failed(error.to_string()) }
}

//! The L2 cache in Redis: one MGET per batch, one pipeline of SETs per batch of predictions.
//!
//! The server should have `maxmemory` and an LRU policy. It cannot be a cluster: the keys of one MGET have no common
//! slot.

use std::fmt;
use std::time::Duration;

use forebay_contract::CacheKey;
use forebay_redis::{is_refused, is_rejected};
use parking_lot::Mutex;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Client, Pipeline, RedisError};

use crate::remote::{CacheError, CacheFuture, CacheWrite, RemoteCache};

/// Longest time to connect. Longer than a lookup may take: a connection that is slow to open serves a later lookup.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A Redis server behind a connection that reopens after an error, and is replaced after a time without replies.
pub struct RedisCache {
    client: Client,
    prefix: String,
    connection: Mutex<ConnectionManager>,
}

impl fmt::Debug for RedisCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCache").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl RedisCache {
    /// Connects in the background; an absent server is found later. Has to be called on a tokio runtime.
    ///
    /// # Errors
    /// Returns an error if `url` is not the address of a Redis server.
    pub fn open(url: &str, prefix: impl Into<String>) -> Result<Self, RedisError> {
        Self::with_client(Client::open(url)?, prefix)
    }

    /// Like [`RedisCache::open`], with the credentials and certificates of `client`.
    ///
    /// # Errors
    /// Returns an error if the client's TLS settings cannot be used.
    pub fn with_client(client: Client, prefix: impl Into<String>) -> Result<Self, RedisError> {
        let connection = connect(&client, true)?;
        Ok(Self { client, prefix: prefix.into(), connection: Mutex::new(connection) })
    }

    fn redis_key(&self, key: &CacheKey) -> Vec<u8> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut name = Vec::with_capacity(self.prefix.len() + 64);
        name.extend_from_slice(self.prefix.as_bytes());
        for byte in key.0 {
            name.extend([byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]));
        }
        name
    }

    fn connection(&self) -> ConnectionManager {
        self.connection.lock().clone()
    }
}

impl RemoteCache for RedisCache {
    fn get(&self, keys: Vec<CacheKey>) -> CacheFuture<Vec<Option<Vec<u8>>>> {
        let mut command = redis::cmd("MGET");
        for key in &keys {
            command.arg(self.redis_key(key));
        }
        let mut connection = self.connection();
        Box::pin(async move { command.query_async(&mut connection).await.map_err(cache_error) })
    }

    fn put(&self, writes: Vec<CacheWrite>) -> CacheFuture<()> {
        let mut pipeline = Pipeline::with_capacity(writes.len());
        for CacheWrite { key, bytes, ttl_s } in writes {
            pipeline.cmd("SET").arg(self.redis_key(&key)).arg(bytes).arg("EX").arg(ttl_s).ignore();
        }
        let mut connection = self.connection();
        Box::pin(async move { pipeline.query_async::<()>(&mut connection).await.map_err(cache_error) })
    }

    fn reconnect(&self) {
        match connect(&self.client, false) {
            Ok(connection) => *self.connection.lock() = connection,
            Err(error) => tracing::warn!(%error, "cannot reconnect to redis"),
        }
    }
}

/// A lazy connection, which keeps connecting even if the lookup that needed it has timed out.
fn connect(client: &Client, first: bool) -> Result<ConnectionManager, RedisError> {
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(CONNECT_TIMEOUT))
        .set_number_of_retries(0);
    let connection = ConnectionManager::new_lazy_with_config(client.clone(), config)?;
    let mut opening = connection.clone();
    tokio::spawn(async move {
        if let Err(error) = redis::cmd("PING").query_async::<()>(&mut opening).await {
            // later rejections are logged once, when the circuit breaker opens
            if first && is_rejected(&error) {
                tracing::warn!(%error, "redis rejects this client, caching in memory only until it is accepted");
            } else {
                tracing::debug!(%error, "redis is not reachable yet");
            }
        }
    });
    Ok(connection)
}

fn cache_error(error: RedisError) -> CacheError {
    if error.is_timeout() {
        CacheError::Timeout
    } else if is_refused(&error) {
        CacheError::Refused(error.to_string())
    } else {
        CacheError::Failed(error.to_string())
    }
}

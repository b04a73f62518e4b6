//! The L2 cache, shared by replicas, as the stage sees it: it may be slow, absent, or hold bytes that cannot be
//! trusted.

use std::pin::Pin;
use std::time::Duration;

use forebay_contract::CacheKey;
use rand::Rng;

/// The result of a command, once it is there.
pub type CacheFuture<T> = Pin<Box<dyn Future<Output = Result<T, CacheError>> + Send>>;

/// Why a command has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// It took longer than `redis.timeout`.
    #[error("no reply in time")]
    Timeout,
    /// The connection or the server reported an error.
    #[error("{0}")]
    Failed(String),
    /// The server answers, but takes no commands of this kind: it is a replica now, is out of memory, cannot save, or is
    /// loading its data.
    #[error("{0}")]
    Refused(String),
}

impl CacheError {
    /// The value of the metrics' label `reason`.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Failed(_) => "error",
            Self::Refused(_) => "refused",
        }
    }
}

/// One entry to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheWrite {
    /// The key.
    pub key: CacheKey,
    /// The encoded [`crate::CacheEntry`].
    pub bytes: Vec<u8>,
    /// Lifetime in seconds, at least 1.
    pub ttl_s: u64,
}

/// A store of bytes outside the process.
pub trait RemoteCache: Send + Sync {
    /// The values of `keys`, in their order.
    fn get(&self, keys: Vec<CacheKey>) -> CacheFuture<Vec<Option<Vec<u8>>>>;
    /// Stores all of `writes`.
    fn put(&self, writes: Vec<CacheWrite>) -> CacheFuture<()>;
    /// Opens a new connection: after a time without replies the present one may be half dead.
    fn reconnect(&self);
}

/// The result of `command`, or [`CacheError::Timeout`] after `limit`.
pub(crate) async fn within<T>(limit: Duration, command: CacheFuture<T>) -> Result<T, CacheError> {
    tokio::time::timeout(limit, command).await.unwrap_or(Err(CacheError::Timeout))
}

/// Share of the ttl by which lifetimes vary.
const TTL_JITTER: f64 = 0.1;

/// Lifetimes of entries: they vary around the ttl, so that entries written together do not expire together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryTtl(Duration);

impl EntryTtl {
    pub(crate) fn new(ttl: Duration) -> Self {
        Self(ttl)
    }

    /// A lifetime in seconds, at least 1.
    pub(crate) fn draw_s(self) -> u64 {
        let factor = 1.0 + TTL_JITTER * rand::rng().random_range(-1.0..=1.0);
        (self.0.as_secs_f64() * factor).round().max(1.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(ttl: Duration) -> Vec<u64> {
        (0..1000).map(|_| EntryTtl::new(ttl).draw_s()).collect()
    }

    #[test]
    fn lifetimes_spread_around_the_ttl() {
        let drawn = drawn(Duration::from_secs(3600));
        assert!(drawn.iter().all(|ttl| (3240..=3960).contains(ttl)));
        assert!(drawn.iter().max().unwrap() - drawn.iter().min().unwrap() > 300);
        let average = drawn.iter().sum::<u64>() as f64 / drawn.len() as f64;
        assert!((3560.0..=3640.0).contains(&average), "not around the ttl: {average}");
    }

    #[test]
    fn a_lifetime_is_never_zero() {
        // Redis refuses `EX 0`
        assert!(drawn(Duration::from_millis(100)).iter().all(|ttl| *ttl == 1));
        assert!(drawn(Duration::from_secs(10)).iter().all(|ttl| (9..=11).contains(ttl)));
    }
}

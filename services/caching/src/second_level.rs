//! The second level, shared by replicas, as the stage sees it: slow, absent and not to be trusted.

use std::pin::Pin;
use std::time::Duration;

use forebay_contract::CacheKey;
use rand::Rng;

/// What a look or a store comes to.
pub type Reply<T> = Pin<Box<dyn Future<Output = Result<T, Trouble>> + Send>>;

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Not within the time it has.
    #[error("no reply in time")]
    Timeout,
    /// An error of the connection or the server.
    #[error("{0}")]
    Failed(String),
}

impl Trouble {
    /// Label of metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Failed(_) => "error",
        }
    }
}

/// One answer to store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Under this key.
    pub key: CacheKey,
    /// These bytes.
    pub bytes: Vec<u8>,
    /// For so long, seconds, at least 1.
    pub ttl_s: u64,
}

/// A store of bytes outside the process.
pub trait SecondLevel: Send + Sync {
    /// What is stored under each key, in the order of `keys`.
    fn get(&self, keys: Vec<CacheKey>) -> Reply<Vec<Option<Vec<u8>>>>;
    /// Stores all of `writes`.
    fn put(&self, writes: Vec<Write>) -> Reply<()>;
    /// Begins anew after a time without replies: the old connection may be half dead.
    fn renew(&self);
}

/// `reply`, if it comes within `limit`.
pub(crate) async fn within<T>(limit: Duration, reply: Reply<T>) -> Result<T, Trouble> {
    tokio::time::timeout(limit, reply).await.unwrap_or(Err(Trouble::Timeout))
}

/// How long entries live: spread, so that what was stored together does not expire together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetime {
    ttl: Duration,
    jitter: f64,
}

impl Lifetime {
    pub(crate) fn new(ttl: Duration, jitter: f64) -> Self {
        Self { ttl, jitter }
    }

    pub(crate) fn draw_s(self) -> u64 {
        let factor = 1.0 + self.jitter * rand::rng().random_range(-1.0..=1.0);
        (self.ttl.as_secs_f64() * factor).round().max(1.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_spread_around_the_ttl() {
        let lifetime = Lifetime::new(Duration::from_secs(3600), 0.1);
        let drawn: Vec<u64> = (0..1000).map(|_| lifetime.draw_s()).collect();
        assert!(drawn.iter().all(|ttl| (3240..=3960).contains(ttl)));
        assert!(drawn.iter().max().unwrap() - drawn.iter().min().unwrap() > 300);
        assert_eq!(
            Lifetime::new(Duration::from_secs(1), 0.5).draw_s().max(1),
            Lifetime::new(Duration::from_secs(1), 0.0).draw_s()
        );
    }
}

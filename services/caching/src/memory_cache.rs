//! The L1 cache: answers in the memory of this process.

use std::sync::Arc;
use std::time::Duration;

use forebay_contract::CacheKey;
use moka::sync::Cache;
use rustc_hash::FxBuildHasher;

use crate::entry::CacheEntry;

/// Approximate size of an entry's key, reference counts and bookkeeping in moka, in bytes.
const OVERHEAD: usize = 256;

/// Bounded by bytes; an entry lives for at most the ttl. Keys are hashes already, so a cheap hasher is enough.
#[derive(Debug)]
pub(crate) struct MemoryCache(Cache<CacheKey, Arc<CacheEntry>, FxBuildHasher>);

impl MemoryCache {
    pub(crate) fn new(capacity: u64, ttl: Duration) -> Self {
        let weigh = |_: &CacheKey, entry: &Arc<CacheEntry>| {
            u32::try_from(OVERHEAD + size_of::<CacheEntry>() + entry.heap_size()).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder().max_capacity(capacity).time_to_live(ttl).weigher(weigh);
        Self(cache.build_with_hasher(FxBuildHasher))
    }

    pub(crate) fn get(&self, key: &CacheKey) -> Option<Arc<CacheEntry>> {
        self.0.get(key)
    }

    pub(crate) fn insert(&self, key: CacheKey, entry: Arc<CacheEntry>) {
        self.0.insert(key, entry);
    }

    /// Approximate number of entries: those added a moment ago may not be counted yet.
    pub(crate) fn entries(&self) -> u64 {
        self.0.entry_count()
    }
}

#[cfg(test)]
mod tests {
    use forebay_contract::Score;

    use super::*;

    fn entry(value: f64) -> Arc<CacheEntry> {
        let score = Score { value, label: None, probabilities: Vec::new(), ..Score::default() };
        Arc::new(CacheEntry { model: "m".into(), version: 1, score })
    }

    #[test]
    fn keeps_within_its_capacity() {
        let cache = MemoryCache::new(100 * 1024, Duration::from_secs(60));
        for n in 0..10_000u32 {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&n.to_le_bytes());
            cache.insert(CacheKey(key), entry(f64::from(n)));
        }
        cache.0.run_pending_tasks();
        assert!((1..=100 * 1024 / OVERHEAD as u64).contains(&cache.entries()), "{}", cache.entries());
    }

    #[test]
    fn returns_what_was_stored() {
        let cache = MemoryCache::new(1 << 20, Duration::from_secs(60));
        cache.insert(CacheKey([1; 32]), entry(1.5));
        assert_eq!(cache.get(&CacheKey([1; 32])), Some(entry(1.5)));
        assert_eq!(cache.get(&CacheKey([2; 32])), None);
    }
}

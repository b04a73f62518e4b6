//! The first level: answers in this process.

use std::sync::Arc;
use std::time::Duration;

use forebay_contract::CacheKey;
use moka::sync::Cache;
use rustc_hash::FxBuildHasher;

use crate::entry::Entry;

/// Key, reference counts and moka's own records of an entry, about.
const OVERHEAD: usize = 256;

/// Bounded by bytes; an entry lives for the ttl at most. Keys are hashes already, so the cheap hasher does.
#[derive(Debug)]
pub(crate) struct MemoryLevel(Cache<CacheKey, Arc<Entry>, FxBuildHasher>);

impl MemoryLevel {
    pub(crate) fn new(capacity: u64, ttl: Duration) -> Self {
        let weigh = |_: &CacheKey, entry: &Arc<Entry>| {
            u32::try_from(OVERHEAD + size_of::<Entry>() + entry.heap()).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder().max_capacity(capacity).time_to_live(ttl).weigher(weigh);
        Self(cache.build_with_hasher(FxBuildHasher))
    }

    pub(crate) fn get(&self, key: &CacheKey) -> Option<Arc<Entry>> {
        self.0.get(key)
    }

    pub(crate) fn insert(&self, key: CacheKey, entry: Arc<Entry>) {
        self.0.insert(key, entry);
    }

    /// Entries, about: what was added a moment ago may not be counted yet.
    pub(crate) fn entries(&self) -> u64 {
        self.0.entry_count()
    }
}

#[cfg(test)]
mod tests {
    use forebay_contract::Score;

    use super::*;

    fn entry(value: f64) -> Arc<Entry> {
        let score = Score { value, label: None, probabilities: Vec::new() };
        Arc::new(Entry { model: "m".into(), version: 1, score })
    }

    #[test]
    fn keeps_within_its_capacity() {
        let level = MemoryLevel::new(100 * 1024, Duration::from_secs(60));
        for n in 0..10_000u32 {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&n.to_le_bytes());
            level.insert(CacheKey(key), entry(f64::from(n)));
        }
        level.0.run_pending_tasks();
        assert!((1..=100 * 1024 / OVERHEAD as u64).contains(&level.entries()), "{}", level.entries());
    }

    #[test]
    fn gives_back_what_it_was_given() {
        let level = MemoryLevel::new(1 << 20, Duration::from_secs(60));
        level.insert(CacheKey([1; 32]), entry(1.5));
        assert_eq!(level.get(&CacheKey([1; 32])), Some(entry(1.5)));
        assert_eq!(level.get(&CacheKey([2; 32])), None);
    }
}

//! The L1 cache: answers in the memory of this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_contract::CacheKey;
use quick_cache::unsync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};
use rustc_hash::FxBuildHasher;

use crate::entry::CacheEntry;

/// Approximate size of an entry's key, reference counts and place in the cache's tables, in bytes.
const OVERHEAD: usize = 192;

/// Size of an ordinary entry, in bytes: as many keys as would fit into half of the capacity are remembered after their
/// entries have left.
const ORDINARY: u64 = 512;

/// Shortest time between two looks for what has expired, which pass over all entries.
const SHORTEST_SWEEP: Duration = Duration::from_secs(10);

/// Bounded by bytes; an entry lives for at most the ttl. It belongs to one actor, so there is no lock. What leaves first is
/// decided by S3-FIFO (Yang et al., SOSP 2023): an entry that is looked up once does not push out those that are looked up
/// often. Keys are hashes already, so a cheap hasher is enough.
#[derive(Debug)]
pub(crate) struct MemoryCache {
    entries: Cache<CacheKey, Stored, Bytes, FxBuildHasher>,
    ttl: Duration,
    /// When those that have expired were last removed.
    swept: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Stored {
    entry: Arc<CacheEntry>,
    expires: Instant,
}

/// Weighs entries by their approximate size in bytes.
#[derive(Clone, Debug)]
struct Bytes;

impl Weighter<CacheKey, Stored> for Bytes {
    fn weight(&self, _: &CacheKey, stored: &Stored) -> u64 {
        (OVERHEAD + size_of::<CacheEntry>() + stored.entry.heap_size()) as u64
    }
}

impl MemoryCache {
    /// A cache of at most `capacity` bytes, whose entries live for `ttl`.
    pub(crate) fn new(capacity: u64, ttl: Duration) -> Self {
        let ordinary = usize::try_from(capacity / ORDINARY).unwrap_or(usize::MAX);
        let options = OptionsBuilder::new().weight_capacity(capacity).estimated_items_capacity(ordinary).build();
        #[expect(clippy::expect_used, reason = "the builder refuses only what is not set")]
        let options = options.expect("both capacities are set, and there is nothing else to refuse");
        let entries = Cache::with_options(options, Bytes, FxBuildHasher, DefaultLifecycle::default());
        Self { entries, ttl, swept: None }
    }

    /// The entry of `key`; one that has expired is removed.
    pub(crate) fn get(&mut self, key: &CacheKey, now: Instant) -> Option<Arc<CacheEntry>> {
        let stored = self.entries.get(key)?;
        if now < stored.expires {
            return Some(Arc::clone(&stored.entry));
        }
        self.entries.remove(key);
        None
    }

    /// Keeps an entry. From time to time those that have expired make room: where rows change with time, no request comes
    /// for an old key again.
    pub(crate) fn insert(&mut self, key: CacheKey, entry: Arc<CacheEntry>, now: Instant) {
        let swept = *self.swept.get_or_insert(now);
        if now.saturating_duration_since(swept) >= (self.ttl / 4).max(SHORTEST_SWEEP) {
            self.entries.retain(|_, stored| now < stored.expires);
            self.swept = Some(now);
        }
        self.entries.insert(key, Stored { entry, expires: now + self.ttl });
    }

    /// Number of entries, with those that have expired a short time ago.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
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

    fn key(n: u32) -> CacheKey {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_le_bytes());
        CacheKey(key)
    }

    #[test]
    fn keeps_within_its_capacity() {
        let (mut cache, now) = (MemoryCache::new(100 * 1024, Duration::from_secs(60)), Instant::now());
        for n in 0..10_000u32 {
            cache.insert(key(n), entry(f64::from(n)), now);
        }
        assert!((1..=100 * 1024 / OVERHEAD).contains(&cache.len()), "{}", cache.len());
        cache.insert(key(1), entry(1.0), now);
        let mut large = (*entry(2.0)).clone();
        large.score.probabilities = vec![0.5; 100 * 1024];
        cache.insert(key(2), Arc::new(large), now);
        assert_eq!(cache.get(&key(2), now), None, "an entry that is larger than the cache");
        assert_eq!(cache.get(&key(1), now), Some(entry(1.0)), "and what it would have pushed out");
    }

    #[test]
    fn entries_that_are_looked_up_outlive_those_that_are_not() {
        let (mut cache, now) = (MemoryCache::new(100 * 1024, Duration::from_secs(60)), Instant::now());
        let often = 0..20;
        often.clone().for_each(|n| cache.insert(key(n), entry(1.0), now));
        for n in 1000..11_000 {
            often.clone().for_each(|n| _ = cache.get(&key(n), now));
            cache.insert(key(n), entry(0.0), now);
        }
        let kept = often.filter(|n| cache.get(&key(*n), now).is_some()).count();
        assert_eq!(kept, 20, "10,000 others pushed some of them out");
    }

    #[test]
    fn returns_what_was_stored_until_it_expires() {
        let (mut cache, now) = (MemoryCache::new(1 << 20, Duration::from_secs(60)), Instant::now());
        cache.insert(key(1), entry(1.5), now);
        assert_eq!(cache.get(&key(1), now), Some(entry(1.5)));
        assert_eq!(cache.get(&key(2), now), None);
        let later = now + Duration::from_secs(60);
        assert!(cache.get(&key(1), later - Duration::from_millis(1)).is_some());
        assert_eq!(cache.get(&key(1), later), None);
        assert_eq!(cache.len(), 0);
        cache.insert(key(1), entry(2.5), later);
        assert_eq!(cache.get(&key(1), later), Some(entry(2.5)));
        let much_later = later + Duration::from_secs(61);
        cache.insert(key(2), entry(3.5), much_later);
        assert_eq!(cache.len(), 1, "the expired one has made room");
    }
}

//! Answers in the memory of a process that serves all callers.

use std::sync::Arc;
use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::{ResultId, StoredAnswer, StoredResult};

/// Bytes of an entry besides its texts.
const ENTRY_BYTES: usize = 256;

/// A new request is refused at nine tenths of the capacity; beyond it the answers that were not asked for in the longest time
/// are evicted.
#[derive(Debug)]
pub(crate) struct MemoryStore(Cache<ResultId, Arc<Entry>>);

#[derive(Debug)]
struct Entry {
    owner: String,
    answer: Option<StoredAnswer>,
}

impl MemoryStore {
    /// Keeps answers of `capacity` bytes in all, each for `ttl`.
    pub(crate) fn new(capacity: usize, ttl: Duration) -> Self {
        let weight = |_: &ResultId, entry: &Arc<Entry>| {
            let bytes = ENTRY_BYTES + entry.owner.len() + entry.answer.as_ref().map_or(0, |answer| answer.json.len());
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder()
            .max_capacity(capacity as u64)
            .weigher(weight)
            .time_to_live(ttl)
            .eviction_policy(EvictionPolicy::lru());
        Self(cache.build())
    }

    /// Whether there is room for one more request.
    pub(super) fn has_room(&self) -> bool {
        let capacity = self.0.policy().max_capacity().unwrap_or(u64::MAX);
        let is_full = || self.0.weighted_size() > capacity / 10 * 9;
        if is_full() {
            // what has expired counts until it is removed
            self.0.run_pending_tasks();
        }
        !is_full()
    }

    pub(super) fn submit(&self, id: ResultId, owner: &str) {
        self.0.insert(id, Arc::new(Entry { owner: owner.to_owned(), answer: None }));
    }

    pub(super) fn complete(&self, id: ResultId, owner: &str, answer: &StoredAnswer) {
        self.0.insert(id, Arc::new(Entry { owner: owner.to_owned(), answer: Some(answer.clone()) }));
    }

    pub(super) fn find(&self, id: ResultId) -> Option<(String, StoredResult)> {
        let entry = self.0.get(&id)?;
        let result = entry.answer.clone().map_or(StoredResult::Pending, StoredResult::Answered);
        Some((entry.owner.clone(), result))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(bytes: usize) -> StoredAnswer {
        StoredAnswer { status: 200, json: vec![b' '; bytes] }
    }

    #[test]
    fn an_answer_is_kept_for_its_owner_and_for_its_time() {
        let store = MemoryStore::new(1 << 20, Duration::from_millis(300));
        let id = ResultId::random();
        assert_eq!(store.find(id), None);
        store.submit(id, "key:a");
        assert_eq!(store.find(id), Some(("key:a".to_owned(), StoredResult::Pending)));
        store.complete(id, "key:a", &answer(3));
        assert_eq!(store.find(id), Some(("key:a".to_owned(), StoredResult::Answered(answer(3)))));
        std::thread::sleep(Duration::from_millis(400));
        assert_eq!(store.find(id), None);
    }

    #[test]
    fn the_oldest_answers_make_room() {
        let store = MemoryStore::new(100 << 10, Duration::from_secs(60));
        let ids: Vec<_> = (0..20).map(|_| ResultId::random()).collect();
        for id in &ids {
            store.complete(*id, "", &answer(10 << 10));
            store.0.run_pending_tasks();
        }
        assert!(store.0.weighted_size() <= 100 << 10 && !store.has_room());
        assert_eq!(store.find(ids[0]), None);
        assert!(store.find(ids[19]).is_some());
    }
}

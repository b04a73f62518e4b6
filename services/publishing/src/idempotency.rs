//! Answers to requests with an `Idempotency-Key`: the same payload from another connection gets the same answer,
//! another payload under the same key is a conflict.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use forebay_contract::wire::outcome::Result as Answered;
use forebay_contract::{ErrorCode, ItemId, Outcome, RequestId};
use rustc_hash::FxHashMap;

/// First 16 bytes of the BLAKE3 hash of a request's payload.
pub(crate) type PayloadDigest = [u8; 16];

/// Cached answers; at capacity the oldest are evicted. Unlike ids in the dedupe window they may go early: then a caller
/// gets the answer that was computed for it instead of the cached one, and only the check for conflicts is lost.
#[derive(Debug)]
pub(crate) struct IdempotencyCache {
    requests: FxHashMap<RequestId, CachedRequest>,
    /// Oldest first.
    order: VecDeque<(Instant, RequestId)>,
    lifetime: Duration,
    capacity: usize,
}

#[derive(Debug)]
struct CachedRequest {
    digest: PayloadDigest,
    rows: Vec<(u32, Outcome)>,
}

impl IdempotencyCache {
    /// Caches the answers of at most `capacity` requests for `lifetime`.
    pub(crate) fn new(lifetime: Duration, capacity: usize) -> Self {
        Self { requests: FxHashMap::default(), order: VecDeque::new(), lifetime, capacity }
    }

    /// Whether the request is cached with another payload.
    pub(crate) fn conflicts(&self, id: RequestId, digest: PayloadDigest) -> bool {
        self.requests.get(&id).is_some_and(|known| known.digest != digest)
    }

    /// Caches the outcome of a row that is sent for the first time.
    pub(crate) fn insert(&mut self, item: ItemId, digest: PayloadDigest, outcome: &Outcome, now: Instant) {
        if self.capacity == 0 {
            return;
        }
        let order = &mut self.order;
        let request = self.requests.entry(item.request_id).or_insert_with(|| {
            order.push_back((now, item.request_id));
            CachedRequest { digest, rows: Vec::with_capacity(1) }
        });
        match request.rows.iter_mut().find(|(row, _)| *row == item.row) {
            Some((_, cached)) => cached.clone_from(outcome),
            None => request.rows.push((item.row, outcome.clone())),
        }
        if self.requests.len() > self.capacity {
            self.evict_oldest();
        }
    }

    /// The outcome for another connection: the cached one, or `own` if none is cached or the cached one is a failure
    /// that may be retried.
    pub(crate) fn replay(&mut self, item: ItemId, own: Outcome) -> Outcome {
        let cached = self
            .requests
            .get_mut(&item.request_id)
            .and_then(|request| request.rows.iter_mut().find(|(row, _)| *row == item.row));
        match cached {
            Some((_, cached)) if is_retryable(cached) => {
                cached.clone_from(&own);
                own
            }
            Some((_, cached)) => cached.clone(),
            None => own,
        }
    }

    /// Removes the answers that are older than the lifetime.
    pub(crate) fn advance(&mut self, now: Instant) {
        while self.order.front().is_some_and(|(since, _)| now.saturating_duration_since(*since) > self.lifetime) {
            self.evict_oldest();
        }
    }

    fn evict_oldest(&mut self) {
        if let Some((_, id)) = self.order.pop_front() {
            self.requests.remove(&id);
        }
    }
}

fn is_retryable(outcome: &Outcome) -> bool {
    match &outcome.result {
        Some(Answered::Failure(failure)) => ErrorCode::parse(&failure.code).retryable(),
        Some(Answered::Answer(_)) => false,
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_contract::{Answer, Problem};

    fn item(request: u8) -> ItemId {
        ItemId { request_id: RequestId([request; 16]), row: 0 }
    }

    fn answer(version: u32) -> Outcome {
        Answer { version, ..Answer::default() }.into()
    }

    fn cache(capacity: usize) -> (IdempotencyCache, Instant) {
        (IdempotencyCache::new(Duration::from_secs(60), capacity), Instant::now())
    }

    #[test]
    fn the_first_answer_is_replayed() {
        let (mut cache, now) = cache(10);
        cache.insert(item(1), [7; 16], &answer(1), now);
        assert!(!cache.conflicts(item(1).request_id, [7; 16]));
        assert_eq!(cache.replay(item(1), answer(2)), answer(1));
        assert!(cache.conflicts(item(1).request_id, [8; 16]));
        assert!(!cache.conflicts(item(2).request_id, [8; 16]));
    }

    #[test]
    fn a_retryable_failure_gives_way_to_an_answer() {
        let (mut cache, now) = cache(10);
        cache.insert(item(1), [7; 16], &Problem::new(ErrorCode::DeadlineExceeded, "late").into(), now);
        assert_eq!(cache.replay(item(1), answer(2)), answer(2));
        assert_eq!(cache.replay(item(1), answer(3)), answer(2));
        let fixed: Outcome = Problem::new(ErrorCode::InvalidFeatures, "bmi is missing").into();
        cache.insert(item(2), [7; 16], &fixed, now);
        assert_eq!(cache.replay(item(2), answer(2)), fixed);
    }

    #[test]
    fn answers_expire_and_are_evicted_at_capacity() {
        let (mut cache, now) = cache(2);
        cache.insert(item(1), [1; 16], &answer(1), now);
        cache.insert(item(2), [2; 16], &answer(2), now + Duration::from_secs(30));
        cache.insert(item(3), [3; 16], &answer(3), now + Duration::from_secs(30));
        assert_eq!(cache.replay(item(1), answer(9)), answer(9), "the oldest was evicted");
        assert_eq!(cache.replay(item(2), answer(9)), answer(2));
        cache.advance(now + Duration::from_secs(91));
        assert_eq!(cache.replay(item(2), answer(9)), answer(9));
        assert!(cache.requests.is_empty() && cache.order.is_empty());
    }
}

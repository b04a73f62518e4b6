//! Answers to requests with an `Idempotency-Key`: the same payload from another connection gets the same answer,
//! another payload under the same key is a conflict.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use forebay_contract::wire::outcome::Result as Answered;
use forebay_contract::{ErrorCode, ItemId, Outcome, RequestId};
use rustc_hash::FxHashMap;

/// First 16 bytes of the BLAKE3 hash of a request's payload.
pub(crate) type PayloadDigest = [u8; 16];

/// One caller may have this share of the memory for cached answers; callers without credentials are one.
const SHARE: usize = 4;
/// Bytes of a cached request besides its rows: its entries here, with what growing takes.
const REQUEST_BYTES: usize = 256;
/// Entries of requests that have been removed, besides one for each that is cached, before they are swept out.
const STALE: usize = 1024;

/// What an [`IdempotencyCache`] may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdempotencyLimits {
    /// Requests.
    pub(crate) requests: usize,
    /// Bytes of their answers; a quarter of them for one caller with credentials.
    pub(crate) bytes: usize,
}

/// Cached answers; at capacity the oldest are evicted. Unlike ids in the dedupe window they may go early: then a caller
/// gets the answer that was computed for it instead of the cached one, and only the check for conflicts is lost.
#[derive(Debug)]
pub(crate) struct IdempotencyCache {
    requests: FxHashMap<RequestId, CachedRequest>,
    /// Oldest first. A request that went early leaves its entry behind for a while.
    order: VecDeque<(Instant, Entry)>,
    /// The number of the next entry.
    next: u64,
    callers: FxHashMap<u32, CallerRequests>,
    bytes: usize,
    lifetime: Duration,
    limits: IdempotencyLimits,
}

/// A request in the order of its arrival. One that went early and came again has a new number, so that its old entry does
/// not evict it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    id: RequestId,
    number: u64,
}

#[derive(Debug)]
struct CachedRequest {
    number: u64,
    digest: PayloadDigest,
    caller: u32,
    bytes: usize,
    rows: Vec<(u32, Outcome)>,
}

/// The requests of a caller, oldest first, and the bytes of those that are still cached.
#[derive(Debug, Default)]
struct CallerRequests {
    bytes: usize,
    order: VecDeque<Entry>,
}

/// Bytes of a cached row, with what growing the list of rows takes.
fn row_bytes(outcome: &Outcome) -> usize {
    2 * size_of::<(u32, Outcome)>() + outcome.encoded_bytes()
}

impl IdempotencyCache {
    /// Caches answers within `limits` for `lifetime`.
    pub(crate) fn new(lifetime: Duration, limits: IdempotencyLimits) -> Self {
        Self {
            requests: FxHashMap::default(),
            order: VecDeque::new(),
            next: 0,
            callers: FxHashMap::default(),
            bytes: 0,
            lifetime,
            limits,
        }
    }

    /// Bytes of all cached answers.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the request is cached with another payload.
    pub(crate) fn conflicts(&self, id: RequestId, digest: PayloadDigest) -> bool {
        self.requests.get(&id).is_some_and(|known| known.digest != digest)
    }

    /// Caches the outcome of a row of `caller` that is sent for the first time.
    pub(crate) fn insert(&mut self, item: ItemId, caller: u32, digest: PayloadDigest, outcome: &Outcome, now: Instant) {
        if self.limits.requests == 0 {
            return;
        }
        let (order, callers, next) = (&mut self.order, &mut self.callers, &mut self.next);
        let mut added = row_bytes(outcome);
        let request = self.requests.entry(item.request_id).or_insert_with(|| {
            let entry = Entry { id: item.request_id, number: *next };
            *next += 1;
            order.push_back((now, entry));
            callers.entry(caller).or_default().order.push_back(entry);
            added += REQUEST_BYTES;
            CachedRequest { number: entry.number, digest, caller, bytes: 0, rows: Vec::with_capacity(1) }
        });
        match request.rows.iter_mut().find(|(row, _)| *row == item.row) {
            Some((_, cached)) => {
                added = added.saturating_sub(row_bytes(cached));
                cached.clone_from(outcome);
            }
            None => request.rows.push((item.row, outcome.clone())),
        }
        request.bytes += added;
        self.bytes += added;
        let caller = request.caller;
        self.callers.entry(caller).or_default().bytes += added;
        self.make_room(caller);
    }

    /// The outcome for another connection: the cached one, or `own` if none is cached or the cached one is a failure
    /// that may be retried.
    pub(crate) fn replay(&mut self, item: ItemId, own: Outcome) -> Outcome {
        let request = self.requests.get(&item.request_id);
        let cached = request.and_then(|request| request.rows.iter().find(|(row, _)| *row == item.row));
        match cached {
            Some((_, cached)) if is_retryable(cached) => {
                let known = request.map(|request| (request.caller, request.digest));
                if let (Some((caller, digest)), Some((since, _))) = (known, self.order.back()) {
                    self.insert(item, caller, digest, &own, *since);
                }
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

    /// Evicts until the limits hold, the oldest of `caller` first if it has more than its share.
    fn make_room(&mut self, caller: u32) {
        let share = self.limits.bytes / SHARE;
        while caller != 0 && self.callers.get(&caller).is_some_and(|known| known.bytes > share) {
            let oldest = self.callers.get_mut(&caller).and_then(|known| known.order.pop_front());
            match oldest {
                Some(entry) => self.remove(entry),
                None => break,
            }
        }
        while (self.requests.len() > self.limits.requests || self.bytes > self.limits.bytes) && !self.order.is_empty() {
            self.evict_oldest();
        }
        let cached = &self.requests;
        let is_cached = |entry: &Entry| cached.get(&entry.id).is_some_and(|it| it.number == entry.number);
        if self.order.len() > 2 * cached.len() + STALE {
            self.order.retain(|(_, entry)| is_cached(entry));
        }
        if let Some(known) = self.callers.get_mut(&caller)
            && known.order.len() > 2 * cached.len() + STALE
        {
            known.order.retain(is_cached);
        }
    }

    fn evict_oldest(&mut self) {
        if let Some((_, entry)) = self.order.pop_front() {
            self.remove(entry);
        }
    }

    fn remove(&mut self, entry: Entry) {
        if self.requests.get(&entry.id).is_none_or(|request| request.number != entry.number) {
            return;
        }
        let Some(request) = self.requests.remove(&entry.id) else { return };
        self.bytes -= request.bytes;
        if let Some(known) = self.callers.get_mut(&request.caller) {
            known.bytes -= request.bytes;
            if known.bytes == 0 {
                self.callers.remove(&request.caller);
            }
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
        let limits = IdempotencyLimits { requests: capacity, bytes: 1 << 20 };
        (IdempotencyCache::new(Duration::from_secs(60), limits), Instant::now())
    }

    #[test]
    fn the_first_answer_is_replayed() {
        let (mut cache, now) = cache(10);
        cache.insert(item(1), 0, [7; 16], &answer(1), now);
        assert!(!cache.conflicts(item(1).request_id, [7; 16]));
        assert_eq!(cache.replay(item(1), answer(2)), answer(1));
        assert!(cache.conflicts(item(1).request_id, [8; 16]));
        assert!(!cache.conflicts(item(2).request_id, [8; 16]));
    }

    #[test]
    fn a_retryable_failure_gives_way_to_an_answer() {
        let (mut cache, now) = cache(10);
        cache.insert(item(1), 0, [7; 16], &Problem::new(ErrorCode::DeadlineExceeded, "late").into(), now);
        assert_eq!(cache.replay(item(1), answer(2)), answer(2));
        assert_eq!(cache.replay(item(1), answer(3)), answer(2));
        let fixed: Outcome = Problem::new(ErrorCode::InvalidFeatures, "bmi is missing").into();
        cache.insert(item(2), 0, [7; 16], &fixed, now);
        assert_eq!(cache.replay(item(2), answer(2)), fixed);
    }

    #[test]
    fn answers_expire_and_are_evicted_at_capacity() {
        let (mut cache, now) = cache(2);
        cache.insert(item(1), 0, [1; 16], &answer(1), now);
        cache.insert(item(2), 0, [2; 16], &answer(2), now + Duration::from_secs(30));
        cache.insert(item(3), 0, [3; 16], &answer(3), now + Duration::from_secs(30));
        assert_eq!(cache.replay(item(1), answer(9)), answer(9), "the oldest was evicted");
        assert_eq!(cache.replay(item(2), answer(9)), answer(2));
        cache.advance(now + Duration::from_secs(91));
        assert_eq!(cache.replay(item(2), answer(9)), answer(9));
        assert!(cache.requests.is_empty() && cache.order.is_empty());
        assert!(cache.bytes() == 0 && cache.callers.is_empty(), "{cache:?}");
    }

    #[test]
    fn a_request_that_went_early_and_came_again_outlives_its_old_entry() {
        let (mut cache, now) = cache(100);
        let share = cache.limits.bytes / SHARE / (row_bytes(&answer(1)) + REQUEST_BYTES);
        let requests = u64::try_from(share).unwrap() + 1;
        cache.limits.requests = 2 * share;
        // the first goes early, as its caller has more than its share
        (0..requests).for_each(|request| cache.insert(row(request, 0), 1, [1; 16], &answer(1), now));
        assert_eq!(cache.replay(row(0, 0), answer(9)), answer(9));
        let later = now + Duration::from_secs(50);
        cache.insert(row(0, 0), 1, [1; 16], &answer(2), later);
        cache.advance(now + Duration::from_secs(61));
        assert_eq!(cache.replay(row(0, 0), answer(9)), answer(2), "11 s old");
    }

    fn row(request: u64, row: u32) -> ItemId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&request.to_le_bytes());
        ItemId { request_id: RequestId(id), row }
    }

    #[test]
    fn large_requests_are_bounded_by_their_bytes_and_those_of_a_caller_by_its_share() {
        let (mut cache, now) = cache(100_000);
        cache.insert(row(0, 0), 1, [1; 16], &answer(1), now);
        for request in 1..2_000 {
            (0..64).for_each(|at| cache.insert(row(request, at), 2, [2; 16], &answer(2), now));
            assert!(cache.bytes() <= (1 << 20) / SHARE + REQUEST_BYTES + 1024, "{}", cache.bytes());
            assert!(cache.order.len() <= 2 * cache.requests.len() + STALE + 1);
        }
        assert_eq!(cache.replay(row(0, 0), answer(9)), answer(1), "another caller keeps what it has");
        assert_eq!(cache.replay(row(1, 0), answer(9)), answer(9), "the oldest of the caller is gone");
        assert_eq!(cache.replay(row(1_999, 63), answer(9)), answer(2));
        // callers without credentials share everything, and no more than that
        for request in 2_000..8_000 {
            (0..64).for_each(|at| cache.insert(row(request, at), 0, [3; 16], &answer(3), now));
            assert!(cache.bytes() <= 1 << 20, "{}", cache.bytes());
        }
        cache.advance(now + Duration::from_secs(61));
        assert!(cache.bytes() == 0 && cache.callers.is_empty() && cache.requests.is_empty());
    }
}

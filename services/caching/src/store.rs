//! Predictions are stored and answer the requests that wait for them. Also what ends a wait otherwise: time, a
//! failure, and partitions that move to another replica.

use std::sync::Arc;
use std::time::Instant;

use forebay_contract::{CacheKey, ErrorCode, Item, Prediction, Problem, now_us};

use crate::cache_policy::CachePolicy;
use crate::entry::CacheEntry;
use crate::lookup::CacheStage;
use crate::outgoing::{OutgoingBatches, Waiter};
use crate::remote::{CacheError, CacheWrite};

impl CacheStage {
    /// Takes predictions: stores them in memory and answers those that wait for them. Returns what to write to the L2
    /// cache.
    pub(crate) fn store(&mut self, predictions: Vec<Item<Prediction>>, now: Instant) -> Vec<CacheWrite> {
        let mut waiters = OutgoingBatches::default();
        let mut writes = Vec::new();
        let now_us = now_us();
        for Prediction { key, version, score, failure, model } in predictions.into_iter().map(|item| item.payload) {
            let Some(key) = CacheKey::from_slice(&key) else { continue };
            let entry = score.filter(|_| failure.is_none()).map(|score| CacheEntry { model, version, score });
            let Some(entry) = entry.filter(CacheEntry::is_finite) else {
                self.promote(&key, now, now_us, &mut waiters);
                continue;
            };
            let entry = Arc::new(entry);
            let policy = self.policies.of(&entry.model);
            if policy == CachePolicy::Off {
                continue;
            }
            self.memory.insert(key, Arc::clone(&entry), now);
            self.metrics.stored_memory.inc();
            // a write is never the breaker's probe
            if policy == CachePolicy::Redis && !self.breaker.is_open() {
                let ttl_s = self.ttl.draw_s();
                writes.extend(entry.encode(&key).map(|bytes| CacheWrite { key, bytes, ttl_s }));
            }
            if let Some(done) = self.flights.complete(&key, now) {
                self.timeout.record(done.took);
                self.metrics.waited.inc_by(waiters.answer(done.waiters, &entry));
            }
        }
        self.metrics.entries.set(i64::try_from(self.memory.len()).unwrap_or(i64::MAX));
        self.send(waiters);
        writes
    }

    /// The leader of `key` failed: the next waiter whose deadline has not passed becomes the leader.
    fn promote(&mut self, key: &CacheKey, now: Instant, now_us: u64, outgoing: &mut OutgoingBatches) {
        loop {
            let released = self.flights.fail(key, now);
            let (mut expired, mut promoted) = (false, 0);
            for waiter in released {
                if waiter.item.context.expired(now_us) {
                    expired = true;
                    fail_expired(waiter, outgoing);
                } else {
                    promoted += 1;
                    outgoing.miss(waiter);
                }
            }
            self.metrics.promoted.inc_by(promoted);
            if promoted > 0 || !expired {
                return;
            }
        }
    }

    /// Handles the result of writing `entries` answers to the L2 cache.
    pub(crate) fn on_l2_written(&mut self, entries: usize, result: Result<(), CacheError>, now: Instant) {
        self.on_l2_result(result.as_ref().err(), now);
        if result.is_ok() {
            if std::mem::take(&mut self.refused) {
                tracing::info!("redis takes writes again");
            }
            self.metrics.stored_redis.inc_by(entries as u64);
        }
    }

    /// Ends the waits that have timed out and drops flights whose answer never came.
    pub(crate) fn tick(&mut self, now: Instant) {
        let mut outgoing = OutgoingBatches::default();
        let now_us = now_us();
        let timed_out = self.flights.take_timed_out(now);
        self.metrics.gave_up.inc_by(timed_out.len() as u64);
        for waiter in timed_out {
            if waiter.item.context.expired(now_us) {
                fail_expired(waiter, &mut outgoing);
            } else {
                outgoing.miss(waiter);
            }
        }
        for _ in 0..self.flights.drop_unanswered(now) {
            self.timeout.record(self.timeout.max());
        }
        self.send(outgoing);
    }

    /// Sends every waiter on as a miss: the answers will go to another replica.
    pub(crate) fn release_waiters(&mut self) {
        let mut outgoing = OutgoingBatches::default();
        for waiter in self.flights.release_all() {
            outgoing.miss(waiter);
        }
        self.send(outgoing);
    }

    /// When [`CacheStage::tick`] next has something to do.
    pub(crate) fn next_tick(&mut self) -> Option<Instant> {
        self.metrics.waiting.set(i64::try_from(self.flights.waiting()).unwrap_or(i64::MAX));
        self.flights.next_due()
    }
}

fn fail_expired(waiter: Waiter, outgoing: &mut OutgoingBatches) {
    let (item, batch) = outgoing.add(waiter);
    let message = "the deadline passed while the request waited for an equal one";
    batch.fail(item, Problem::new(ErrorCode::DeadlineExceeded, message));
}

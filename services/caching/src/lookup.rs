//! The path of a batch through the cache, top to bottom: each item is answered from memory, waits for an equal item in
//! flight, is looked up in the L2 cache, or is sent to prediction. `store.rs` handles the predictions.
//!
//! Plain state with the clock passed in; the actor around it carries messages and runs the I/O.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_bus::{Ack, Delivery, StageScope};
use forebay_contract::{Batch, CacheKey, Features, Item, now_us};
use forebay_runtime::{CircuitAdmission, CircuitBreaker, CircuitPolicy, CircuitState, SpanKind, StageSpan};

use crate::adaptive_timeout::AdaptiveTimeout;
use crate::cache_policy::{CachePolicy, ModelPolicies};
use crate::entry::CacheEntry;
use crate::memory_cache::MemoryCache;
use crate::metrics::CacheMetrics;
use crate::outgoing::{BatchScope, OutgoingBatch, OutgoingBatches, Waiter};
use crate::outlets::Outlets;
use crate::remote::{CacheError, EntryTtl};
use crate::settings::Settings;
use crate::single_flight::{Role, SingleFlight};

/// The cache of one replica.
#[derive(Debug)]
pub(crate) struct CacheStage {
    pub(crate) policies: ModelPolicies,
    pub(crate) memory: MemoryCache,
    pub(crate) flights: SingleFlight<Waiter>,
    /// How long followers wait.
    pub(crate) timeout: AdaptiveTimeout,
    /// Guards the L2 cache.
    pub(crate) breaker: CircuitBreaker,
    /// Whether Redis has refused a command since it last took a write.
    pub(crate) refused: bool,
    /// Lifetime of entries in the L2 cache.
    pub(crate) ttl: EntryTtl,
    pub(crate) metrics: CacheMetrics,
    pub(crate) outlets: Outlets,
    scope: Rc<StageScope>,
    /// Identifies the next batch.
    next_batch: u64,
}

/// Leaders of one batch whose keys are being looked up in the L2 cache.
#[derive(Debug)]
pub(crate) struct L2Lookup {
    leaders: Vec<(CacheKey, Item<Features>)>,
    scope: Rc<BatchScope>,
    ack: Ack,
    spans: Vec<StageSpan>,
    /// The circuit breaker was open until now: use a new connection.
    pub(crate) probe: bool,
}

impl L2Lookup {
    pub(crate) fn keys(&self) -> Vec<CacheKey> {
        self.leaders.iter().map(|(key, _)| *key).collect()
    }
}

/// The values of an L2 lookup in the order of its keys; `None` where the L2 cache has none.
pub(crate) type L2Reply = Result<Vec<Option<Vec<u8>>>, CacheError>;

impl CacheStage {
    pub(crate) fn new(
        settings: &Settings,
        has_l2: bool,
        scope: StageScope,
        metrics: CacheMetrics,
        outlets: Outlets,
    ) -> Self {
        let (cache, redis) = (&settings.cache, &settings.redis);
        Self {
            policies: ModelPolicies::new(cache.policy, &cache.models, has_l2),
            memory: MemoryCache::new(cache.capacity, cache.ttl),
            flights: SingleFlight::new(cache.waiters, cache.max_wait),
            timeout: AdaptiveTimeout::new(cache.max_wait),
            refused: false,
            breaker: CircuitBreaker::new(CircuitPolicy { failures: redis.breaker_failures, open: redis.breaker_open }),
            ttl: EntryTtl::new(cache.ttl),
            metrics,
            outlets,
            scope: Rc::new(scope),
            next_batch: 0,
        }
    }

    /// Takes a batch. If some of its keys have to be looked up in the L2 cache, returns that lookup, whose reply goes
    /// to [`CacheStage::on_l2_reply`].
    pub(crate) fn look_up(&mut self, delivery: Delivery<Batch<Features>>, now: Instant) -> Option<L2Lookup> {
        let Delivery { payload, ack } = delivery;
        self.next_batch += 1;
        let (scope, items, expired) = BatchScope::begin(self.next_batch, &self.scope, self.scope.enter(payload));
        let mut leaders = Vec::new();
        let mut outgoing = OutgoingBatch::new(Rc::clone(&scope), ack.share()).with_answers(expired);
        let (mut hits, now_us) = (0, now_us());
        for item in items {
            let policy = self.policies.of(&item.payload.model);
            // A key of another length is not from this mesh: such an item is served, and shares nothing.
            let key = CacheKey::from_slice(&item.payload.key).filter(|_| policy != CachePolicy::Off);
            let Some(key) = key else {
                outgoing.miss(item);
                continue;
            };
            if let Some(entry) = self.memory.get(&key, now).filter(|entry| entry.answers(&item.payload)) {
                hits += 1;
                outgoing.answer(item, &entry, "hit");
                continue;
            }
            match self.flights.join(key, now, self.timeout.current()) {
                Role::Leader if policy == CachePolicy::Redis => leaders.push((key, item)),
                Role::Leader => outgoing.miss(item),
                Role::Overflow => {
                    self.metrics.waiters_full.inc();
                    outgoing.miss(item);
                }
                Role::Follower => {
                    let left = Duration::from_micros(item.context.deadline_us().saturating_sub(now_us));
                    let waiter = Waiter { item, scope: Rc::clone(&scope), ack: ack.share() };
                    self.wait(key, waiter, now + self.timeout.current().min(left), &mut outgoing);
                }
            }
        }
        self.metrics.hits_memory.inc_by(hits);
        let lookup = self.begin_l2_lookup(leaders, scope, ack, now, &mut outgoing);
        self.metrics.misses.inc_by(outgoing.misses() as u64);
        outgoing.send(&self.outlets);
        lookup
    }

    fn wait(&mut self, key: CacheKey, waiter: Waiter, until: Instant, outgoing: &mut OutgoingBatch) {
        if let Err(Waiter { item, ack, .. }) = self.flights.wait(key, until, waiter) {
            outgoing.miss(item);
            ack.ack(); // the item leaves under the share of `outgoing`
        }
    }

    /// Prepares the lookup of the leaders' keys. While the circuit breaker is open, the leaders are misses.
    fn begin_l2_lookup(
        &mut self,
        leaders: Vec<(CacheKey, Item<Features>)>,
        scope: Rc<BatchScope>,
        ack: Ack,
        now: Instant,
        outgoing: &mut OutgoingBatch,
    ) -> Option<L2Lookup> {
        if leaders.is_empty() {
            ack.ack();
            return None;
        }
        let admission = self.breaker.admit(now);
        self.show_breaker(now);
        if matches!(admission, CircuitAdmission::Refused(_)) {
            self.metrics.bypassed("open", leaders.len());
            leaders.into_iter().for_each(|(_, item)| outgoing.miss(item));
            ack.ack();
            return None;
        }
        let spans = leaders.iter().filter_map(|(_, item)| scope.trace(item));
        let spans = spans.map(|trace| {
            let mut span = self.scope.tracer().start("redis", SpanKind::Client, trace, now_us());
            span.set("db.system.name", "redis");
            span.set("db.operation.name", "MGET");
            span.set("db.operation.batch.size", i64::try_from(leaders.len()).unwrap_or(i64::MAX));
            span
        });
        let spans = spans.collect();
        Some(L2Lookup { leaders, scope, ack, spans, probe: admission == CircuitAdmission::Probe })
    }

    /// Handles the reply to a lookup: values that can be used answer their leaders and those that wait for them, the
    /// other leaders go on to prediction.
    pub(crate) fn on_l2_reply(&mut self, lookup: L2Lookup, reply: L2Reply, now: Instant) {
        let L2Lookup { leaders, scope, ack, mut spans, .. } = lookup;
        let reply = reply.and_then(|values| match values.len() == leaders.len() {
            true => Ok(values),
            false => Err(CacheError::Failed(format!("{} values for {} keys", values.len(), leaders.len()))),
        });
        self.on_l2_result(reply.as_ref().err(), now);
        let values = reply.unwrap_or_else(|error| {
            self.metrics.bypassed(error.reason(), leaders.len());
            spans.iter_mut().for_each(|span| span.error(error.reason(), error.to_string()));
            vec![None; leaders.len()]
        });
        drop(spans);
        let mut outgoing = OutgoingBatch::new(scope, ack);
        let mut waiters = OutgoingBatches::default();
        for ((key, item), bytes) in leaders.into_iter().zip(values) {
            match bytes.and_then(|bytes| self.decode(&key, &bytes, &item.payload)) {
                Some(entry) => {
                    self.metrics.hits_redis.inc();
                    self.memory.insert(key, Arc::clone(&entry), now);
                    outgoing.answer(item, &entry, "hit_l2");
                    if let Some(done) = self.flights.complete(&key, now) {
                        self.metrics.waited.inc_by(waiters.answer(done.waiters, &entry));
                    }
                }
                None => outgoing.miss(item),
            }
        }
        self.metrics.misses.inc_by(outgoing.misses() as u64);
        outgoing.send(&self.outlets);
        self.send(waiters);
    }

    /// The entry in `bytes`, if it is one, for this key, and of the version that the item is pinned to.
    fn decode(&self, key: &CacheKey, bytes: &[u8], features: &Features) -> Option<Arc<CacheEntry>> {
        match CacheEntry::decode(key, bytes) {
            Ok(entry) if entry.answers(features) => Some(Arc::new(entry)),
            rejected => {
                self.metrics.corrupt.inc();
                let reason = rejected.err().map_or("answer of another version".to_owned(), |error| error.to_string());
                tracing::debug!(reason, "ignoring a redis value");
                None
            }
        }
    }

    /// Reports the result of an L2 command to the circuit breaker; `None` is a success.
    pub(crate) fn on_l2_result(&mut self, error: Option<&CacheError>, now: Instant) {
        match error {
            None => {
                if self.breaker.succeed() && !self.refused {
                    tracing::info!("redis circuit breaker closed");
                }
            }
            Some(CacheError::Refused(error)) => {
                self.metrics.redis_error("refused");
                // reads may still work, so the breaker would count few failures, and each probe is a read
                self.breaker.open(now);
                if !std::mem::replace(&mut self.refused, true) {
                    tracing::warn!(error, "redis refuses commands, circuit breaker opened");
                }
            }
            Some(error) => {
                self.metrics.redis_error(error.reason());
                // a failed probe opens it once more, which is no news
                let was_open = self.breaker.is_open();
                if self.breaker.fail(now) && !was_open {
                    tracing::warn!(%error, "redis circuit breaker opened");
                }
            }
        }
        self.show_breaker(now);
    }

    fn show_breaker(&self, now: Instant) {
        let state = match self.breaker.state(now) {
            CircuitState::Closed => 0,
            CircuitState::Probing => 1,
            CircuitState::Open | CircuitState::ProbeDue => 2,
        };
        self.metrics.breaker.set(state);
    }

    /// Sends waiters that leave, and counts the misses among them.
    pub(crate) fn send(&self, waiters: OutgoingBatches) {
        self.metrics.misses.inc_by(waiters.misses() as u64);
        waiters.send(&self.outlets);
    }
}

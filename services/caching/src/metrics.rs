//! The metrics of the cache, besides those that every stage has.

use forebay_runtime::Metrics;
use forebay_runtime::prometheus_client::metrics::counter::Counter;
use forebay_runtime::prometheus_client::metrics::family::Family;
use forebay_runtime::prometheus_client::metrics::gauge::Gauge;

type Labelled = Family<[(&'static str, &'static str); 1], Counter>;

/// Handles, resolved once. The metrics' names start with `forebay_cache_`.
#[derive(Clone, Debug)]
pub(crate) struct CacheMetrics {
    pub(crate) hits_memory: Counter,
    pub(crate) hits_redis: Counter,
    pub(crate) misses: Counter,
    pub(crate) waited: Counter,
    pub(crate) waiting: Gauge,
    pub(crate) gave_up: Counter,
    pub(crate) promoted: Counter,
    pub(crate) waiters_full: Counter,
    pub(crate) stored_memory: Counter,
    pub(crate) stored_redis: Counter,
    pub(crate) dropped_predictions: Counter,
    pub(crate) corrupt: Counter,
    pub(crate) entries: Gauge,
    pub(crate) breaker: Gauge,
    bypassed: Labelled,
    redis_errors: Labelled,
}

impl CacheMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let group = metrics.group("forebay_cache_");
        let hits: Labelled = group.add("hits", "Requests answered from a cache level");
        let stored: Labelled = group.add("stored", "Answers stored in a cache level");
        Self {
            hits_memory: hits.get_or_create_owned(&[("level", "memory")]),
            hits_redis: hits.get_or_create_owned(&[("level", "redis")]),
            misses: group.add("misses", "Requests sent on to prediction"),
            waited: group.add("waited", "Requests answered by the prediction of an equal one"),
            waiting: group.add("waiting", "Requests that are waiting for an equal one"),
            gave_up: group.add("gave_up", "Waits that ended without an answer"),
            promoted: group.add("promoted", "Waiters sent on to prediction after the first request failed"),
            waiters_full: group.add("waiters_full", "Requests sent on to prediction because too many were waiting"),
            stored_memory: stored.get_or_create_owned(&[("level", "memory")]),
            stored_redis: stored.get_or_create_owned(&[("level", "redis")]),
            dropped_predictions: group
                .add("dropped_predictions", "Predictions that were not stored because too many were pending"),
            corrupt: group.add("corrupt", "Redis values that could not be used"),
            entries: group.add("entries", "Approximate number of answers in memory"),
            breaker: group.add("redis_breaker", "0 closed, 1 half-open, 2 open"),
            bypassed: group.add("bypassed", "Requests handled without Redis, by reason"),
            redis_errors: group.add("redis_errors", "Failed Redis commands, by reason"),
        }
    }

    /// Counts requests, or writes, that bypassed the L2 cache. Rare, so the label is looked up.
    pub(crate) fn bypassed(&self, reason: &'static str, items: usize) {
        self.bypassed.get_or_create_owned(&[("reason", reason)]).inc_by(items as u64);
    }

    /// Counts a failed command. Rare, so the label is looked up.
    pub(crate) fn redis_error(&self, reason: &'static str) {
        self.redis_errors.get_or_create_owned(&[("reason", reason)]).inc();
    }
}

//! What the stage counts besides what every stage counts. Handles are resolved once.

use forebay_runtime::Metrics;
use forebay_runtime::prometheus_client::metrics::counter::Counter;
use forebay_runtime::prometheus_client::metrics::family::Family;
use forebay_runtime::prometheus_client::metrics::gauge::Gauge;

type Labelled = Family<[(&'static str, &'static str); 1], Counter>;

/// Names start with `forebay_cache_`.
#[derive(Clone, Debug)]
pub(crate) struct CacheMetrics {
    pub(crate) hits_memory: Counter,
    pub(crate) hits_redis: Counter,
    pub(crate) misses: Counter,
    pub(crate) waited: Counter,
    pub(crate) waiting: Gauge,
    pub(crate) gave_up: Counter,
    pub(crate) promoted: Counter,
    pub(crate) crowded: Counter,
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
        let family = |name: &str, help: &str| {
            let family = Labelled::default();
            metrics.register(&format!("forebay_cache_{name}"), help, family.clone());
            family
        };
        let counter = |name: &str, help: &str| {
            let counter = Counter::default();
            metrics.register(&format!("forebay_cache_{name}"), help, counter.clone());
            counter
        };
        let gauge = |name: &str, help: &str| {
            let gauge: Gauge = Gauge::default();
            metrics.register(&format!("forebay_cache_{name}"), help, gauge.clone());
            gauge
        };
        let hits = family("hits", "Requests answered from a level");
        let stored = family("stored", "Answers stored in a level");
        Self {
            hits_memory: hits.get_or_create_owned(&[("level", "memory")]),
            hits_redis: hits.get_or_create_owned(&[("level", "redis")]),
            misses: counter("misses", "Requests that went on to prediction"),
            waited: counter("waited", "Requests answered by the prediction of an equal one"),
            waiting: gauge("waiting", "Requests that wait for an equal one now"),
            gave_up: counter("gave_up", "Waits that ended without an answer"),
            promoted: counter("promoted", "Waiters that asked themselves after a failure"),
            crowded: counter("crowded", "Requests that found no room to wait"),
            stored_memory: stored.get_or_create_owned(&[("level", "memory")]),
            stored_redis: stored.get_or_create_owned(&[("level", "redis")]),
            dropped_predictions: counter("dropped_predictions", "Predictions that were not stored for lack of room"),
            corrupt: counter("corrupt", "Values of the second level that could not be used"),
            entries: gauge("entries", "Answers in memory, about"),
            breaker: gauge("redis_breaker", "0 closed, 1 half-open, 2 open"),
            bypassed: family("bypassed", "Requests that went on without the second level, by reason"),
            redis_errors: family("redis_errors", "Failed commands, by reason"),
        }
    }

    /// Rare, so the label is looked up.
    pub(crate) fn bypassed(&self, reason: &'static str, items: usize) {
        self.bypassed.get_or_create_owned(&[("reason", reason)]).inc_by(items as u64);
    }

    /// Rare, so the label is looked up.
    pub(crate) fn redis_error(&self, reason: &'static str) {
        self.redis_errors.get_or_create_owned(&[("reason", reason)]).inc();
    }
}

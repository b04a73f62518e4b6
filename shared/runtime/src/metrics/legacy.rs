//! Metrics with names from before Forebay, which dashboards and autoscalers rely on.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::stage::Latency;

/// Handles of these metrics. Clones share the numbers.
#[derive(Debug, Clone)]
pub struct LegacyMetrics {
    /// `inference_requests_total`: accepted requests.
    pub requests: Counter,
    /// `inference_latency_seconds`: time from the acceptance of a request to its answer.
    pub latency_seconds: Latency,
    /// `inference_errors_total`: requests answered with an error.
    pub errors: Counter,
    lag: Family<[(&'static str, String); 2], Gauge>,
}

impl LegacyMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let help = "Time from acceptance to the answer in seconds";
        let legacy = Self {
            requests: Counter::default(),
            latency_seconds: Latency::register(registry, "inference_latency_seconds", help),
            errors: Counter::default(),
            lag: Family::default(),
        };
        registry.register("inference_requests", "Inference requests accepted", legacy.requests.clone());
        registry.register("inference_errors", "Inference requests answered with an error", legacy.errors.clone());
        registry.register("kafka_consumer_lag", "Records not yet consumed, by topic and partition", legacy.lag.clone());
        legacy
    }

    /// `kafka_consumer_lag` of one partition. Resolve it at assignment and keep it.
    pub fn consumer_lag(&self, topic: &str, partition: i32) -> Gauge {
        self.lag.get_or_create_owned(&lag_labels(topic, partition))
    }

    /// Removes a partition that another member has taken over, so that it is not counted twice.
    pub fn forget_lag(&self, topic: &str, partition: i32) {
        self.lag.remove(&lag_labels(topic, partition));
    }
}

fn lag_labels(topic: &str, partition: i32) -> [(&'static str, String); 2] {
    [("topic", topic.to_owned()), ("partition", partition.to_string())]
}

//! A histogram of seconds whose buckets name a trace each, so that a slow bucket leads to a request that was slow.

use std::time::SystemTime;

use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::registry::Registry;

use super::stage::LATENCY_BUCKETS;
use crate::telemetry::TraceContext;

/// Handles; clones share the numbers.
#[derive(Debug, Clone)]
pub struct Latency(HistogramWithExemplars<[(&'static str, String); 1]>);

impl Latency {
    pub(super) fn register(registry: &mut Registry, name: &str, help: &str) -> Self {
        let histogram = HistogramWithExemplars::new(LATENCY_BUCKETS.into_iter());
        registry.register(name, help, histogram.clone());
        Self(histogram)
    }

    /// Counts a request. `trace` is given when its spans are exported: the bucket then names it as its example
    /// (OpenMetrics exemplar, label `trace_id`). Without one nothing is formatted and nothing allocated.
    pub fn observe(&self, seconds: f64, trace: Option<TraceContext>) {
        let example = trace.map(|trace| [("trace_id", trace.trace_id_hex().to_string())]);
        let at = example.is_some().then(SystemTime::now);
        self.0.observe(seconds, example, at);
    }
}

//! Metrics of one component, whose names share a prefix.

use prometheus_client::registry::Metric;

use crate::Metrics;

/// Registers the metrics of one component.
#[derive(Debug)]
pub struct MetricGroup<'a> {
    metrics: &'a Metrics,
    prefix: &'static str,
}

impl Metrics {
    /// A group whose metrics' names begin with `prefix`, such as `forebay_cache_`.
    pub fn group(&self, prefix: &'static str) -> MetricGroup<'_> {
        MetricGroup { metrics: self, prefix }
    }
}

impl MetricGroup<'_> {
    /// Registers a new metric of the type that the caller keeps, and returns its handle. The encoder appends `_total` to
    /// the names of counters, so `name` must not end with it.
    pub fn add<M: Metric + Clone + Default>(&self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.metrics.register(&format!("{}{name}", self.prefix), help, metric.clone());
        metric
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;

    #[test]
    fn handles_and_the_registry_share_the_value() {
        let metrics = Metrics::new();
        let group = metrics.group("forebay_test_");
        let (hits, size): (Counter, Gauge) = (group.add("hits", "Hits"), group.add("size", "Size"));
        hits.inc_by(3);
        size.set(-2);
        let text = metrics.encode().unwrap();
        let has = |line: &str| text.lines().any(|it| it == line);
        assert!(has("forebay_test_hits_total 3") && has("forebay_test_size -2"), "{text}");
    }
}

//! The registry behind `/metrics` and the families that every stage has.

mod dependencies;
mod legacy;
mod process;
mod prometheus_text;
mod stage;

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::{Metric, Registry};

use crate::lifecycle::Lifecycle;

pub use dependencies::{KafkaMetrics, RegistryRead};
pub use legacy::LegacyMetrics;
pub use stage::{Latency, Seconds, StageMetrics};

/// The metrics of the process. Clones share them. Families of several stages are registered here once, so that
/// `/metrics` shows one family with a label set for each stage.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    stages: stage::Families,
    legacy: LegacyMetrics,
    kafka: KafkaMetrics,
    registry_reads: dependencies::RegistryReads,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry with the stage, legacy and process families.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let stages = stage::Families::register(&mut registry);
        let legacy = LegacyMetrics::register(&mut registry);
        let kafka = KafkaMetrics::register(&mut registry);
        let registry_reads = dependencies::RegistryReads::register(&mut registry);
        registry.register_collector(Box::new(process::ProcessMetrics::start()));
        Self { registry: Arc::new(Mutex::new(registry)), stages, legacy, kafka, registry_reads }
    }

    /// Adds a metric; keep a clone of it. The encoder appends `_total` to the names of counters, so `name` must not
    /// have it.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.registry.lock().register(name, help, metric);
    }

    /// Adds metrics whose values are read at every scrape.
    pub fn collect(&self, collector: impl Collector) {
        self.registry.lock().register_collector(Box::new(collector));
    }

    /// The metrics whose names dashboards and autoscalers from before Forebay use.
    pub fn legacy(&self) -> &LegacyMetrics {
        &self.legacy
    }

    /// The metrics of the connections to the brokers.
    pub fn kafka(&self) -> &KafkaMetrics {
        &self.kafka
    }

    /// The time when `stage` last read the model registry. Resolve it once and keep it.
    pub fn registry_read(&self, stage: &'static str) -> RegistryRead {
        self.registry_reads.of(stage)
    }

    /// Adds the readiness metrics of `lifecycle`. Called once for each registry.
    pub(crate) fn watch(&self, lifecycle: &Lifecycle) {
        self.registry.lock().register_collector(Box::new(process::HealthMetrics(lifecycle.clone())));
    }

    /// All metrics in Prometheus' text format 0.0.4, without exemplars.
    ///
    /// # Errors
    /// As [`Metrics::encode`].
    pub fn encode_prometheus_text(&self) -> Result<String, std::fmt::Error> {
        Ok(prometheus_text::from_open_metrics(&self.encode()?))
    }

    /// All metrics as OpenMetrics text.
    ///
    /// # Errors
    /// When a metric cannot be encoded, which is a bug of the metric.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock())?;
        Ok(text)
    }
}

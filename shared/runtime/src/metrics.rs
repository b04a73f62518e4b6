//! The registry behind `/metrics` and the families that every stage has.

mod classic;
mod health;
mod kafka;
mod latency;
mod legacy;
mod process;
mod registry;
mod stage;

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::{Metric, Registry};

use crate::lifecycle::Lifecycle;

pub use kafka::KafkaMetrics;
pub use latency::Latency;
pub use legacy::LegacyMetrics;
pub use registry::RegistryRead;
pub use stage::{Seconds, StageMetrics};

/// All metrics of the process. Clones share them. Families that several stages of one process have are registered once
/// here, so that `/metrics` shows one family with a label set for each stage.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    stages: stage::Families,
    legacy: LegacyMetrics,
    kafka: KafkaMetrics,
    registry_reads: registry::RegistryReads,
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
        let registry_reads = registry::RegistryReads::register(&mut registry);
        registry.register_collector(Box::new(process::ProcessMetrics::start()));
        Self { registry: Arc::new(Mutex::new(registry)), stages, legacy, kafka, registry_reads }
    }

    /// Adds a metric; keep a clone of it. Counters get `_total` appended, so leave it out of `name`.
    pub fn register(&self, name: &str, help: &str, metric: impl Metric) {
        self.registry.lock().register(name, help, metric);
    }

    /// Adds metrics that are read when they are scraped.
    pub fn collect(&self, collector: impl Collector) {
        self.registry.lock().register_collector(Box::new(collector));
    }

    /// The metrics whose names older dashboards and autoscalers know.
    pub fn legacy(&self) -> &LegacyMetrics {
        &self.legacy
    }

    /// How the brokers treat this process.
    pub fn kafka(&self) -> &KafkaMetrics {
        &self.kafka
    }

    /// When `stage` last read the model registry. Resolve it once and keep it.
    pub fn registry_read(&self, stage: &'static str) -> RegistryRead {
        self.registry_reads.of(stage)
    }

    /// Shows readiness as metrics from now on. Called once for each registry.
    pub(crate) fn watch(&self, lifecycle: &Lifecycle) {
        self.registry.lock().register_collector(Box::new(health::HealthMetrics(lifecycle.clone())));
    }

    /// Everything in the text format from before OpenMetrics, without examples.
    ///
    /// # Errors
    /// As [`Metrics::encode`].
    pub fn encode_classic(&self) -> Result<String, std::fmt::Error> {
        Ok(classic::classic(&self.encode()?))
    }

    /// Everything as OpenMetrics text.
    ///
    /// # Errors
    /// When a metric cannot be encoded, which is a bug in it.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock())?;
        Ok(text)
    }
}

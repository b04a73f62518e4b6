//! The registry behind `/metrics` and the families that every stage has.

mod legacy;
mod process;
mod stage;

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::{Metric, Registry};

pub use legacy::LegacyMetrics;
pub use stage::{Seconds, StageMetrics};

/// All metrics of the process. Clones share them. Families that several stages of one process have are registered once
/// here, so that `/metrics` shows one family with a label set for each stage.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    stages: stage::Families,
    legacy: LegacyMetrics,
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
        registry.register_collector(Box::new(process::ProcessMetrics));
        Self { registry: Arc::new(Mutex::new(registry)), stages, legacy }
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

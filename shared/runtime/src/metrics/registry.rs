//! When the model registry was last read.

use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type Family1 = Family<[(&'static str, &'static str); 1], Gauge<f64, AtomicU64>>;

/// By stage; clones share the numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct RegistryReads(Family1);

impl RegistryReads {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let reads = Self::default();
        let help = "When the model registry was last read, Unix time";
        registry.register("forebay_registry_read_timestamp_seconds", help, reads.0.clone());
        reads
    }

    pub(super) fn of(&self, stage: &'static str) -> RegistryRead {
        RegistryRead(self.0.get_or_create_owned(&[("stage", stage)]))
    }
}

/// Handle of one stage.
#[derive(Debug, Clone, Default)]
pub struct RegistryRead(Gauge<f64, AtomicU64>);

impl RegistryRead {
    /// It was read now.
    pub fn now(&self) {
        self.0.set(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    }
}

//! Readiness as numbers, so that an alert can say what `/health/ready` says.

use std::collections::BTreeMap;
use std::fmt::Error;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::lifecycle::Lifecycle;

#[derive(Debug)]
pub(super) struct HealthMetrics(pub(super) Lifecycle);

impl Collector for HealthMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let ready = ConstGauge::new(i64::from(self.0.is_ready()));
        let help = "1 while the process takes work, else 0";
        ready.encode(encoder.encode_descriptor("forebay_ready", help, None, MetricType::Gauge)?)?;
        // components of one name are one component to an operator
        let mut components = BTreeMap::new();
        for component in self.0.components() {
            let ready = components.entry(component.name).or_insert(true);
            *ready &= component.unready.is_none();
        }
        let help = "1 while a component is ready, else 0";
        let mut family = encoder.encode_descriptor("forebay_component_ready", help, None, MetricType::Gauge)?;
        for (name, ready) in components {
            let labels = [("component", name)];
            ConstGauge::new(i64::from(ready)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

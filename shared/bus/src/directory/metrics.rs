//! What the model directory shows of itself.

use forebay_runtime::prometheus_client::collector::Collector;
use forebay_runtime::prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use forebay_runtime::prometheus_client::metrics::MetricType;
use forebay_runtime::prometheus_client::metrics::gauge::ConstGauge;

use super::ModelDirectory;

/// Read at every scrape.
#[derive(Debug)]
pub(super) struct DirectoryMetrics(pub(super) ModelDirectory);

impl Collector for DirectoryMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let views = self.0.views();
        let help = "Generation of the registry view that counts, in milliseconds of its writer's clock";
        let mut metric = encoder.encode_descriptor("forebay_models_generation", help, None, MetricType::Gauge)?;
        for view in &views {
            let generation = ConstGauge::new(i64::try_from(view.generation).unwrap_or(i64::MAX));
            generation.encode(metric.encode_family(&[("model", view.model.as_str())])?)?;
        }
        let help = "Live prediction replicas that report on the model";
        let mut metric = encoder.encode_descriptor("forebay_models_replicas", help, None, MetricType::Gauge)?;
        for view in &views {
            let live = i64::try_from(self.0.replicas(&view.model).len()).unwrap_or(i64::MAX);
            ConstGauge::new(live).encode(metric.encode_family(&[("model", view.model.as_str())])?)?;
        }
        Ok(())
    }
}

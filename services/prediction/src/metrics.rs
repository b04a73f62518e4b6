//! Metrics by model and version.

use forebay_runtime::prometheus_client::metrics::counter::Counter;
use forebay_runtime::prometheus_client::metrics::family::Family;
use forebay_runtime::prometheus_client::metrics::gauge::Gauge;
use forebay_runtime::prometheus_client::metrics::histogram::Histogram;
use forebay_runtime::{Metrics, RegistryRead};

/// The labels `model` and `version`.
type Labels = [(&'static str, String); 2];

type Differences = Family<Labels, Histogram, fn() -> Histogram>;

/// The metric families, shared by all versions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ModelMetrics {
    rows: Family<Labels, Counter>,
    failures: Family<Labels, Counter>,
    fallbacks: Family<Labels, Counter>,
    other_content: Family<Labels, Counter>,
    open: Family<Labels, Gauge>,
    shadow_failures: Family<Labels, Counter>,
    shadow_rows: Family<Labels, Counter>,
    shadow_disagreements: Family<Labels, Counter>,
    shadow_dropped: Counter,
    shadow_difference: Differences,
    /// Time of the last successful read of the registry.
    pub(crate) registry_read: RegistryRead,
}

/// The metrics of one version, looked up once.
#[derive(Debug, Clone)]
pub(crate) struct VersionMetrics {
    /// Rows it has answered.
    pub rows: Counter,
    /// Calls of it that failed.
    pub failures: Counter,
    /// Rows it has answered in place of another version.
    pub fallbacks: Counter,
    /// Rows it has answered that preprocessing had pinned to other content under its number.
    pub other_content: Counter,
    /// 1 while its circuit breaker is not closed.
    pub open: Gauge,
    /// Calls of it as a shadow that failed.
    pub shadow_failures: Counter,
    /// Rows it has scored as a shadow.
    pub shadow_rows: Counter,
    /// Rows it has scored as a shadow with another answer than the one given.
    pub shadow_disagreements: Counter,
    /// Difference between its answer as a shadow and the one given, relative to the latter.
    pub shadow_difference: Histogram,
}

impl Default for ModelMetrics {
    fn default() -> Self {
        Self {
            rows: Family::default(),
            failures: Family::default(),
            fallbacks: Family::default(),
            other_content: Family::default(),
            open: Family::default(),
            shadow_failures: Family::default(),
            shadow_rows: Family::default(),
            shadow_disagreements: Family::default(),
            shadow_dropped: Counter::default(),
            shadow_difference: Family::new_with_constructor(differences),
            registry_read: RegistryRead::default(),
        }
    }
}

fn differences() -> Histogram {
    Histogram::new([0.0, 1e-9, 1e-6, 1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3, 1.0])
}

impl ModelMetrics {
    /// Registers the families.
    pub fn register(metrics: &Metrics) -> Self {
        let own = Self { registry_read: metrics.registry_read("prediction"), ..Self::default() };
        metrics.register("forebay_model_rows", "Rows a version answered", own.rows.clone());
        metrics.register("forebay_model_failures", "Calls of a version that failed", own.failures.clone());
        metrics.register(
            "forebay_model_fallbacks",
            "Rows a version answered in place of another",
            own.fallbacks.clone(),
        );
        metrics.register(
            "forebay_model_other_content",
            "Rows a version answered with other content than preprocessing knew; they are not cached",
            own.other_content.clone(),
        );
        metrics.register(
            "forebay_model_breaker_open",
            "1 while the breaker of a version is not closed",
            own.open.clone(),
        );
        metrics.register(
            "forebay_shadow_failures",
            "Calls of a shadow version that failed",
            own.shadow_failures.clone(),
        );
        metrics.register("forebay_shadow_rows", "Rows scored by a shadow version", own.shadow_rows.clone());
        metrics.register(
            "forebay_shadow_disagreements",
            "Rows for which a shadow version gave another answer",
            own.shadow_disagreements.clone(),
        );
        metrics.register(
            "forebay_shadow_dropped",
            "Batches not shadowed because the last one was not done",
            own.shadow_dropped.clone(),
        );
        metrics.register(
            "forebay_shadow_difference",
            "Difference of a shadow's answer to the one given, relative to the latter",
            own.shadow_difference.clone(),
        );
        own
    }

    /// The metrics of a version.
    pub(crate) fn version(&self, model: &str, version: u32) -> VersionMetrics {
        let labels = [("model", model.to_owned()), ("version", version.to_string())];
        VersionMetrics {
            rows: self.rows.get_or_create_owned(&labels),
            failures: self.failures.get_or_create_owned(&labels),
            fallbacks: self.fallbacks.get_or_create_owned(&labels),
            other_content: self.other_content.get_or_create_owned(&labels),
            open: self.open.get_or_create_owned(&labels),
            shadow_failures: self.shadow_failures.get_or_create_owned(&labels),
            shadow_rows: self.shadow_rows.get_or_create_owned(&labels),
            shadow_disagreements: self.shadow_disagreements.get_or_create_owned(&labels),
            shadow_difference: self.shadow_difference.get_or_create_owned(&labels),
        }
    }

    /// Counts a batch that was not shown to the shadows.
    pub(crate) fn shadow_dropped(&self) {
        self.shadow_dropped.inc();
    }
}

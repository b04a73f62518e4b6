//! What publishing counts besides what every stage counts.

use forebay_runtime::prometheus_client::metrics::counter::Counter;
use forebay_runtime::prometheus_client::metrics::gauge::Gauge;
use forebay_runtime::{LegacyMetrics, Metrics, StageMetrics};

/// Handles, resolved once.
#[derive(Clone, Debug)]
pub(crate) struct Counters {
    /// Copies of items that were answered before.
    pub(crate) duplicates: Counter,
    /// Callers with an `Idempotency-Key` that got a kept answer.
    pub(crate) again: Counter,
    /// Errors that settings keep off the result topic.
    pub(crate) omitted: Counter,
    /// Ids in the window.
    pub(crate) ids: Gauge,
    /// Items held back because the window is full.
    pub(crate) held: Gauge,
    /// Latency and errors, known here for every door.
    pub(crate) legacy: LegacyMetrics,
}

impl Counters {
    pub(crate) fn register(metrics: &Metrics, stage: &StageMetrics) -> Self {
        let counters = Self {
            duplicates: stage.duplicates.clone(),
            again: Counter::default(),
            omitted: Counter::default(),
            ids: Gauge::default(),
            held: Gauge::default(),
            legacy: metrics.legacy().clone(),
        };
        let add = |name: &str, help: &str, counter: &Counter| metrics.register(name, help, counter.clone());
        add("forebay_publishing_answered_again", "Callers that got a kept answer again", &counters.again);
        add("forebay_publishing_omitted", "Errors kept off the result topic by settings", &counters.omitted);
        let add = |name: &str, help: &str, gauge: &Gauge| metrics.register(name, help, gauge.clone());
        add("forebay_publishing_window_ids", "Answered items remembered", &counters.ids);
        add("forebay_publishing_held", "Items held back because the window is full", &counters.held);
        counters
    }
}

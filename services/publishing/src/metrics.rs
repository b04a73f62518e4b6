//! The metrics of publishing, besides those that every stage has.

use forebay_runtime::prometheus_client::metrics::counter::Counter;
use forebay_runtime::prometheus_client::metrics::gauge::Gauge;
use forebay_runtime::{LegacyMetrics, Metrics, StageMetrics};

use crate::dedupe::Deduplicator;

/// Handles, resolved once. The metrics' names start with `forebay_publishing_`.
#[derive(Clone, Debug)]
pub(crate) struct PublishingMetrics {
    /// Copies of results that were sent before.
    pub(crate) duplicates: Counter,
    /// Callers with an `Idempotency-Key` that got a cached answer.
    pub(crate) replayed: Counter,
    /// Errors that `results.errors = "omit"` keeps off the result topic.
    pub(crate) omitted: Counter,
    /// Ids in the dedupe window.
    pub(crate) ids: Gauge,
    /// Bytes of the answers that are kept for requests with an `Idempotency-Key`.
    pub(crate) kept_bytes: Gauge,
    /// Results held back because the dedupe window is full.
    pub(crate) held: Gauge,
    /// Results that wait until the result topic was read for an earlier answer.
    pub(crate) looking_up: Gauge,
    /// Results that were looked up in the result topic.
    pub(crate) looked_up: Counter,
    /// Latency and errors of all requests, under the replaced service's names.
    pub(crate) legacy: LegacyMetrics,
}

impl PublishingMetrics {
    pub(crate) fn register(metrics: &Metrics, stage: &StageMetrics) -> Self {
        let group = metrics.group("forebay_publishing_");
        Self {
            duplicates: stage.duplicates.clone(),
            replayed: group.add("answered_again", "Callers that got a cached answer"),
            omitted: group.add("omitted", "Errors kept off the result topic by results.errors"),
            ids: group.add("window_ids", "Ids in the dedupe window"),
            kept_bytes: group.add("kept_bytes", "Bytes of the answers kept for requests with an Idempotency-Key"),
            held: group.add("held", "Results held back because the dedupe window is full"),
            looking_up: group.add("looking_up", "Results that wait for a look into the result topic"),
            looked_up: group.add("looked_up", "Results looked up in the result topic, older than the dedupe window"),
            legacy: metrics.legacy().clone(),
        }
    }

    /// Shows how much the deduplicator holds.
    pub(crate) fn show(&self, deduplicator: &Deduplicator) {
        self.ids.set(deduplicator.ids() as i64);
        self.kept_bytes.set(deduplicator.kept_bytes() as i64);
    }
}

/// Counters of transactions with results: those that were committed, and those that were not.
pub(crate) fn transaction_counters(metrics: &Metrics) -> [Counter; 2] {
    let group = metrics.group("forebay_publishing_");
    [
        group.add("transactions_committed", "Transactions with results that were committed"),
        group.add("transactions_aborted", "Transactions that were not, whose results were sent again"),
    ]
}

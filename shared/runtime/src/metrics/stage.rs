//! The metrics that every stage has.

use std::sync::atomic::AtomicU64;
use std::time::SystemTime;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::exemplar::HistogramWithExemplars;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::Metrics;
use crate::telemetry::TraceContext;

/// A counter of seconds.
pub type Seconds = Counter<f64, AtomicU64>;

type ByStage = [(&'static str, &'static str); 1];
type Gauge64 = Gauge<f64, AtomicU64>;

/// Bounds in seconds, from the cost of an in-memory edge to the default timeout.
const LATENCY_BUCKETS: [f64; 17] =
    [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0, 60.0];
const BATCH_BUCKETS: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

#[derive(Debug, Clone)]
pub(super) struct Families {
    received: Family<ByStage, Counter>,
    sent: Family<Pair, Counter>,
    failed: Family<Pair, Counter>,
    in_flight: Family<ByStage, Gauge>,
    in_flight_bytes: Family<ByStage, Gauge>,
    waited: Family<ByStage, Seconds>,
    duration: Family<ByStage, Histogram>,
    batch_size: Family<ByStage, Histogram>,
    oldest: Family<ByStage, Gauge64>,
    by_priority: Family<[(&'static str, &'static str); 2], Histogram>,
    dead_letters: Family<ByStage, Counter>,
    dead_letters_lost: Family<ByStage, Counter>,
    duplicates: Family<ByStage, Counter>,
    advice_dropped: Family<ByStage, Counter>,
}

/// The labels of a stage and of a destination or error code.
type Pair = [(&'static str, String); 2];

impl Families {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let stage = registry.sub_registry_with_prefix("forebay_stage");
        let families = Self {
            received: Family::default(),
            sent: Family::default(),
            failed: Family::default(),
            in_flight: Family::default(),
            in_flight_bytes: Family::default(),
            waited: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(LATENCY_BUCKETS)),
            batch_size: Family::new_with_constructor(|| Histogram::new(BATCH_BUCKETS)),
            oldest: Family::default(),
            by_priority: Family::new_with_constructor(|| Histogram::new(LATENCY_BUCKETS)),
            dead_letters: Family::default(),
            dead_letters_lost: Family::default(),
            duplicates: Family::default(),
            advice_dropped: Family::default(),
        };
        stage.register("received", "Items taken in", families.received.clone());
        stage.register("sent", "Items handed over, by destination", families.sent.clone());
        stage.register("failed", "Items that ended in an error, by code", families.failed.clone());
        stage.register("in_flight", "Items of unfinished work", families.in_flight.clone());
        let help = "Memory that unfinished work counts for";
        stage.register("in_flight_bytes", help, families.in_flight_bytes.clone());
        stage.register(
            "waited_seconds",
            "Time that intake was held back by the bound on unfinished work",
            families.waited.clone(),
        );
        stage.register("duration_seconds", "Time of an item in the stage", families.duration.clone());
        stage.register("batch_size", "Items in a batch", families.batch_size.clone());
        stage.register("oldest_item_age_seconds", "Age of the oldest unfinished item", families.oldest.clone());
        let help = "Time of an item in the stage, by priority: high below 1, normal 1, low above";
        stage.register("priority_seconds", help, families.by_priority.clone());
        stage.register("dead_letters", "Records given up on", families.dead_letters.clone());
        let lost = families.dead_letters_lost.clone();
        stage.register("dead_letters_lost", "Dead letters that are in the log alone", lost);
        stage.register("duplicates", "Items that had been seen before", families.duplicates.clone());
        let help = "Items of advisory topics that were dropped";
        stage.register("advisory_dropped", help, families.advice_dropped.clone());
        families
    }
}

/// The handles of one stage. Clones share the numbers. Counting needs no look-up.
#[derive(Debug, Clone)]
pub struct StageMetrics {
    stage: &'static str,
    families: Families,
    /// Items received.
    pub received: Counter,
    /// Items in flight.
    pub in_flight: Gauge,
    /// Bytes that they count for.
    pub in_flight_bytes: Gauge,
    /// Time for which intake waited because of the limit on items in flight.
    pub waited_seconds: Seconds,
    /// Time of an item in the stage, in seconds.
    pub duration_seconds: Histogram,
    /// Items in a batch.
    pub batch_size: Histogram,
    /// Age of the oldest item in flight, in seconds.
    pub oldest_item_age_seconds: Gauge<f64, AtomicU64>,
    /// Records that were sent to the dead-letter topic.
    pub dead_letters: Counter,
    /// Dead letters that could not be written.
    pub dead_letters_lost: Counter,
    /// Items that were duplicates.
    pub duplicates: Counter,
    /// Items of advisory topics that were dropped, by the writer or the reader.
    pub advice_dropped: Counter,
}

impl StageMetrics {
    /// The handles of `stage`, which is the value of the label `stage`. A second call returns handles of the same
    /// numbers.
    pub fn register(metrics: &Metrics, stage: &'static str) -> Self {
        let families = metrics.stages.clone();
        let label = [("stage", stage)];
        Self {
            stage,
            received: families.received.get_or_create_owned(&label),
            in_flight: families.in_flight.get_or_create_owned(&label),
            in_flight_bytes: families.in_flight_bytes.get_or_create_owned(&label),
            waited_seconds: families.waited.get_or_create_owned(&label),
            duration_seconds: families.duration.get_or_create_owned(&label),
            batch_size: families.batch_size.get_or_create_owned(&label),
            oldest_item_age_seconds: families.oldest.get_or_create_owned(&label),
            dead_letters: families.dead_letters.get_or_create_owned(&label),
            dead_letters_lost: families.dead_letters_lost.get_or_create_owned(&label),
            duplicates: families.duplicates.get_or_create_owned(&label),
            advice_dropped: families.advice_dropped.get_or_create_owned(&label),
            families,
        }
    }

    /// Name of the stage.
    pub fn name(&self) -> &'static str {
        self.stage
    }

    /// The time of items of a priority (`high`, `normal`, `low`) in this stage, in seconds. Resolve it once and keep
    /// it.
    pub fn priority_seconds(&self, priority: &'static str) -> Histogram {
        self.families.by_priority.get_or_create_owned(&[("stage", self.stage), ("priority", priority)])
    }

    /// The counter of items sent to `destination` (a topic, or `http`). Resolve it once and keep it.
    pub fn sent(&self, destination: &str) -> Counter {
        self.families.sent.get_or_create_owned(&self.and("destination", destination))
    }

    /// The counter of items that failed with `code`. Resolve the frequent ones once.
    pub fn failed(&self, code: &str) -> Counter {
        self.families.failed.get_or_create_owned(&self.and("code", code))
    }

    fn and(&self, label: &'static str, value: &str) -> Pair {
        [("stage", self.stage.to_owned()), (label, value.to_owned())]
    }
}

/// A histogram of seconds whose buckets name a trace each, so that a slow bucket leads to a slow request. Clones share
/// it.
#[derive(Debug, Clone)]
pub struct Latency(HistogramWithExemplars<[(&'static str, String); 1]>);

impl Latency {
    pub(super) fn register(registry: &mut Registry, name: &str, help: &str) -> Self {
        let histogram = HistogramWithExemplars::new(LATENCY_BUCKETS.into_iter());
        registry.register(name, help, histogram.clone());
        Self(histogram)
    }

    /// Counts a request. If its spans are exported, `trace` becomes the exemplar of the bucket (label `trace_id`).
    /// Without a trace this does not allocate.
    pub fn observe(&self, seconds: f64, trace: Option<TraceContext>) {
        let exemplar = trace.map(|trace| [("trace_id", trace.trace_id_hex().to_string())]);
        let at = exemplar.is_some().then(SystemTime::now);
        self.0.observe(seconds, exemplar, at);
    }
}

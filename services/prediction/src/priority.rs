//! Measures how long rows of each priority spend in this stage.

use std::time::Instant;

use forebay_runtime::StageMetrics;
use forebay_runtime::prometheus_client::metrics::histogram::Histogram;

use crate::queue::QueuedRow;

/// A histogram for each class of priority, looked up once.
#[derive(Debug)]
pub(crate) struct PriorityTimes {
    high: Histogram,
    normal: Histogram,
    low: Histogram,
}

impl PriorityTimes {
    pub(crate) fn new(stage: &StageMetrics) -> Self {
        let of = |priority| stage.priority_seconds(priority);
        Self { high: of("high"), normal: of("normal"), low: of("low") }
    }

    /// Records rows that are answered at `now`.
    pub(crate) fn observe(&self, rows: &[QueuedRow], now: Instant) {
        for row in rows {
            let times = match row.item.context.priority() {
                ..=0 => &self.high,
                1 => &self.normal,
                _ => &self.low,
            };
            times.observe(now.saturating_duration_since(row.arrived).as_secs_f64());
        }
    }
}

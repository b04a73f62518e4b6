//! How long rows of each priority take here: what the ordered queue is for.

use std::time::Instant;

use forebay_runtime::StageMetrics;
use forebay_runtime::prometheus_client::metrics::histogram::Histogram;

use crate::queue::Job;

/// Handles, resolved once.
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

    /// Counts rows that are answered at `now`.
    pub(crate) fn observe(&self, jobs: &[Job], now: Instant) {
        for job in jobs {
            let times = match job.item.context.priority() {
                ..=0 => &self.high,
                1 => &self.normal,
                _ => &self.low,
            };
            times.observe(now.saturating_duration_since(job.arrived).as_secs_f64());
        }
    }
}

//! Counts of requests for inference at this replica, by model and version.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_contract::now_us;
use parking_lot::Mutex;

use super::InferAnswer;

/// Counts of all models. Clones share them. A model is counted once it is known, so clients cannot make entries.
#[derive(Clone, Debug, Default)]
pub(crate) struct ModelStatistics(Arc<Mutex<BTreeMap<(String, u32), ModelCounts>>>);

/// Counts of one version. Times are sums, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ModelCounts {
    /// When the last request arrived, Unix milliseconds.
    pub last_ms: u64,
    pub successes: u64,
    pub success_ns: u64,
    pub failures: u64,
    pub failure_ns: u64,
    /// Rows that a model has scored.
    pub inferences: u64,
    /// Requests of which at least one row was scored by a model, and the time they took.
    pub executions: u64,
    pub execution_ns: u64,
    /// Rows whose prediction came from the cache.
    pub cache_hits: u64,
}

impl ModelStatistics {
    /// Counts a request that was answered after `took`.
    pub(crate) fn succeeded(&self, answer: &InferAnswer, took: Duration) {
        let Some(version) = answer.version else { return };
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let scored = answer.rows - answer.cached;
        self.count(&answer.model, version, |counts| {
            counts.successes += 1;
            counts.success_ns += ns;
            counts.inferences += scored as u64;
            counts.cache_hits += answer.cached as u64;
            if scored > 0 {
                counts.executions += 1;
                counts.execution_ns += ns;
            }
        });
    }

    /// Counts a request to a known version that failed after `took`.
    pub(crate) fn failed(&self, model: &str, version: u32, took: Duration) {
        self.count(model, version, |counts| {
            counts.failures += 1;
            counts.failure_ns += u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        });
    }

    fn count(&self, model: &str, version: u32, update: impl FnOnce(&mut ModelCounts)) {
        let mut all = self.0.lock();
        let counts = all.entry((model.to_owned(), version)).or_default();
        counts.last_ms = now_us() / 1000;
        update(counts);
    }

    /// The counts of one version.
    pub(crate) fn of(&self, model: &str, version: u32) -> ModelCounts {
        self.0.lock().get(&(model.to_owned(), version)).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_from_the_cache_are_no_inferences() {
        let statistics = ModelStatistics::default();
        let answer = |rows, cached| InferAnswer {
            model: "m".into(),
            version: Some(2),
            fallback_from: None,
            rows,
            cached,
            outputs: vec![],
        };
        statistics.succeeded(&answer(4, 1), Duration::from_micros(2));
        statistics.succeeded(&answer(3, 3), Duration::from_micros(1));
        statistics.failed("m", 2, Duration::from_micros(5));
        let counts = statistics.of("m", 2);
        assert_eq!((counts.successes, counts.success_ns, counts.failures, counts.failure_ns), (2, 3_000, 1, 5_000));
        assert_eq!((counts.inferences, counts.executions, counts.execution_ns, counts.cache_hits), (3, 1, 2_000, 4));
        assert_eq!(statistics.of("m", 1), ModelCounts::default());
    }
}

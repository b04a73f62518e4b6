//! Listeners for burn-train: a renderer that only moves our progress bar, and a log of the loss of each epoch.

use std::sync::{Arc, Mutex, PoisonError};

use burn::train::logger::{EvaluationProgressLogger, MetricLogger, TrainingProgressLogger};
use burn::train::metric::store::{EpochSummary, MetricsUpdate, Split};
use burn::train::metric::{MetricDefinition, NumericEntry};
use burn::train::renderer::{
    EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation, MetricsRendererTraining,
};

use crate::progress::TrainingProgress;

/// Mean loss of one epoch.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub(crate) struct EpochLoss {
    pub(crate) train: f64,
    /// Mean loss on the held-out rows; `None` in the last fit, which holds out nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) valid: Option<f64>,
}

/// Collects the loss of every epoch.
#[derive(Debug, Clone, Default)]
pub(crate) struct LossLog {
    sums: Arc<Mutex<Vec<[LossSum; 2]>>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct LossSum {
    loss: f64,
    rows: usize,
}

impl LossLog {
    /// What was logged so far, an entry per epoch.
    pub(crate) fn epochs(&self, held_out: bool) -> Vec<EpochLoss> {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let mean = |sum: &LossSum| if sum.rows == 0 { f64::NAN } else { sum.loss / sum.rows as f64 };
        sums.iter()
            .map(|[train, valid]| EpochLoss { train: mean(train), valid: held_out.then(|| mean(valid)) })
            .collect()
    }
}

impl MetricLogger for LossLog {
    fn log(&mut self, update: MetricsUpdate, epoch: usize, split: &Split) {
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let which = match split {
            Split::Train => 0,
            Split::Valid => 1,
            Split::Test(_) => return,
        };
        if sums.len() < epoch {
            sums.resize(epoch, Default::default());
        }
        let Some(sum) = epoch.checked_sub(1).and_then(|i| sums.get_mut(i)) else { return };
        for entry in update.entries_numeric.iter().filter_map(|e| e.numeric_entry.as_ref()) {
            let (loss, rows) = match entry {
                NumericEntry::Value(loss) => (*loss, 1),
                NumericEntry::Aggregated { aggregated_value, count } => (*aggregated_value, *count),
                NumericEntry::Final(_) => continue,
            };
            sum[which].loss += loss * rows as f64;
            sum[which].rows += rows;
        }
    }

    fn read_numeric(&mut self, _: &str, _: usize, _: &Split) -> Result<Vec<NumericEntry>, String> {
        Ok(Vec::new())
    }

    fn log_metric_definition(&mut self, _: MetricDefinition) {}

    fn log_epoch_summary(&mut self, _: EpochSummary) {}
}

/// Moves the progress bar and prints nothing itself.
#[derive(Debug)]
pub(crate) struct QuietRenderer {
    pub(crate) progress: TrainingProgress,
}

impl MetricsRendererTraining for QuietRenderer {
    fn update_train(&mut self, _: MetricState) {}
    fn update_valid(&mut self, _: MetricState) {}
}

impl TrainingProgressLogger for QuietRenderer {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {}

    fn update_epoch(&mut self, _: usize) {
        self.progress.epoch();
    }

    fn start_split(&mut self, _: &str, _: usize) {}
    fn update_split(&mut self, _: usize) {}
    fn end_split(&mut self) {}
    fn end(&mut self) {}
    fn log_event_training(&mut self, _: String) {}
}

impl EvaluationProgressLogger for QuietRenderer {
    fn start_global_progress(&mut self, _: usize) {}
    fn start_test(&mut self, _: &str, _: usize) {}
    fn update_test_progress(&mut self, _: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _: String) {}
}

impl MetricsRendererEvaluation for QuietRenderer {
    fn update_test(&mut self, _: EvaluationName, _: MetricState) {}
}

impl MetricsRenderer for QuietRenderer {
    fn manual_close(&mut self) {}
    fn register_metric(&mut self, _: MetricDefinition) {}
}

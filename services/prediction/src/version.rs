//! One loaded version with its circuit breaker, checked and warmed up.

mod rows;

use std::time::{Duration, Instant};

use forebay_contract::{BreakerState, ColumnKind};
use forebay_model::{Label, LoadedVersion, Output, Outputs, Scores};
use forebay_runtime::{CircuitAdmission, CircuitBreaker, CircuitPolicy, CircuitState};
use parking_lot::Mutex;

use crate::loader_commands::StateNotifier;
use crate::metrics::VersionMetrics;
use crate::model_call::{self, CallError};
use crate::row_batch::{BatchView, RowBatch};
use crate::slowed_for_test::SlowedForTest;

/// Rows of the warm-up calls: a single request, a small batch, a full batch.
const WARM_ROWS: [usize; 3] = [1, 16, 256];

/// What a version answers to `predict`, as its input example shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct AnswerFormat {
    kind: ColumnKind,
    /// Values of a row.
    outputs: usize,
    /// Probabilities of a row.
    probabilities: usize,
}

/// A version that can answer.
#[derive(Debug)]
pub struct Version {
    loaded: LoadedVersion,
    label: String,
    breaker: Mutex<CircuitBreaker>,
    row_cost: Duration,
    /// Prepared rows of the input example, or a made-up one, with which the breaker probes the version.
    example: RowBatch,
    /// Whether the example is made up and the version has no answer to it, which says nothing about the version.
    untried: bool,
    answer: AnswerFormat,
    pub(crate) metrics: VersionMetrics,
    /// Notified when its breaker changes.
    notifier: StateNotifier,
    slowed: SlowedForTest,
}

impl Version {
    /// Checks and warms up a version that was loaded. Takes milliseconds or more, so it must not run on an arbiter.
    ///
    /// # Errors
    /// When it cannot answer its own input example, fails at a made-up row where it has none, and when its answers differ
    /// from those of the model's origin.
    pub(crate) fn check(
        mut loaded: LoadedVersion,
        policy: CircuitPolicy,
        metrics: VersionMetrics,
        notifier: StateNotifier,
    ) -> Result<Self, String> {
        if let Some(reason) = &loaded.unread_example {
            tracing::warn!(model = loaded.name, version = loaded.version, reason, "input example is not used");
        }
        model_call::guard(|| loaded.check_example())?.map_err(|error| error.to_string())?;
        // up to 10,000 rows that nothing is compared with any more
        loaded.expectation = None;
        let rows = loaded.example_rows();
        let mut version = Self {
            label: format!("v{}", loaded.version),
            breaker: Mutex::new(CircuitBreaker::new(policy)),
            row_cost: Duration::ZERO,
            example: RowBatch::new(false),
            untried: !loaded.has_example(),
            answer: AnswerFormat::default(),
            metrics,
            notifier,
            slowed: SlowedForTest::of_model(&loaded.name),
            loaded,
        };
        let mut example = version.new_batch();
        let appended = rows.iter().try_for_each(|row| version.append_example(row, &mut example));
        version.unless_untried(appended)?;
        version.example = example;
        let scores = version.answer_example()?.filter(|scores| !scores.is_empty());
        let finite = |scores: &Scores| (0..scores.len()).all(|row| model_call::finite(scores, row));
        version.untried &= !scores.as_ref().is_some_and(finite);
        version.answer = scores.as_ref().map_or_else(|| version.untried_answer_format(), answer_format);
        version.row_cost = version.warm_up()?;
        version.metrics.open.set(0);
        Ok(version)
    }

    /// The name of its model.
    pub fn model(&self) -> &str {
        &self.loaded.name
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.loaded.version
    }

    /// `v<N>`
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The outputs that the version has.
    pub(crate) fn outputs(&self) -> Outputs {
        self.loaded.model.outputs()
    }

    /// Whether the version has an output.
    pub(crate) fn has(&self, output: Output) -> bool {
        self.outputs().has(output)
    }

    /// The names of several outputs in order; empty when the signature has none.
    pub(crate) fn output_names(&self) -> &[String] {
        &self.loaded.output_names
    }

    /// An empty batch in the form that the model takes.
    pub(crate) fn new_batch(&self) -> RowBatch {
        RowBatch::new(self.loaded.is_typed())
    }

    /// The number of values in a row of a batch.
    pub(crate) fn batch_width(&self) -> usize {
        self.loaded.model.signature().width()
    }

    /// The digest of the content of its files.
    pub fn digest(&self) -> &[u8; 32] {
        &self.loaded.digest
    }

    /// The time for one row of a full batch, measured at warm-up.
    pub fn row_cost(&self) -> Duration {
        self.row_cost
    }

    /// The version as if it needed so much time for a row.
    #[cfg(test)]
    pub(crate) fn costing(self, row_cost: Duration) -> Self {
        Self { row_cost, ..self }
    }

    /// Answers prepared rows.
    ///
    /// # Errors
    /// The error or panic of the model.
    pub(crate) fn predict(&self, rows: BatchView<'_>, output: Output) -> Result<Scores, CallError> {
        self.slowed.sleep(rows.len(self.batch_width()));
        model_call::predict(&self.loaded, rows, output)
    }

    /// Whether the breaker allows a call. A probe that is due is made here with the input example, so that no row of a
    /// client is at risk.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn admit(&self, now: Instant) -> Result<(), String> {
        let admission = self.breaker.lock().admit(now);
        match admission {
            CircuitAdmission::Allowed => Ok(()),
            CircuitAdmission::Refused(left) => Err(format!("breaker is open for another {:.1} s", left.as_secs_f64())),
            CircuitAdmission::Probe => match self.answer_example() {
                Ok(_) => {
                    self.succeeded();
                    Ok(())
                }
                Err(error) => {
                    self.failed(now);
                    Err(format!("probe failed: {error}"))
                }
            },
        }
    }

    /// Notes a call with at least one usable answer.
    pub(crate) fn succeeded(&self) {
        let closed = self.breaker.lock().succeed();
        if closed {
            self.metrics.open.set(0);
            self.notifier.notify();
            tracing::info!(model = self.model(), version = self.number(), "breaker is closed again");
        }
    }

    /// Notes a call that failed; `true` when the breaker is open now.
    pub(crate) fn failed(&self, now: Instant) -> bool {
        self.metrics.failures.inc();
        let (opened, open) = {
            let mut breaker = self.breaker.lock();
            (breaker.fail(now), breaker.is_open())
        };
        if opened {
            self.metrics.open.set(1);
            self.notifier.notify();
            tracing::warn!(model = self.model(), version = self.number(), "breaker is open");
        }
        open
    }

    /// Whether its breaker is open.
    pub(crate) fn is_open(&self) -> bool {
        self.breaker.lock().is_open()
    }

    /// The state of its breaker.
    pub(crate) fn breaker_state(&self, now: Instant) -> BreakerState {
        match self.breaker.lock().state(now) {
            CircuitState::Closed => BreakerState::Closed,
            CircuitState::Open => BreakerState::Open,
            CircuitState::ProbeDue | CircuitState::Probing => BreakerState::HalfOpen,
        }
    }

    /// The answers to the example; `None` when the version refuses it and may do so.
    fn answer_example(&self) -> Result<Option<Scores>, String> {
        let Some(scores) = self.unless_untried(self.predict(self.example.view(), Output::Predict))? else {
            return Ok(None);
        };
        match (0..scores.len()).find(|&row| !model_call::finite(&scores, row)) {
            Some(row) if !self.is_partial() && !self.untried => {
                Err(format!("the answer to row {row} of its input example is not finite"))
            }
            _ => Ok(Some(scores)),
        }
    }

    /// Whether the version has a finite answer to its example now.
    pub(crate) fn answers_example(&self) -> bool {
        !self.untried && matches!(self.answer_example(), Ok(Some(_)))
    }

    /// What came of the example; `None` when the version refuses it and may do so.
    fn unless_untried<T>(&self, result: Result<T, CallError>) -> Result<Option<T>, String> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(CallError::Refused(_)) if self.untried => Ok(None),
            Err(error) => Err(error.into_text()),
        }
    }

    /// What is known of the answers without one.
    fn untried_answer_format(&self) -> AnswerFormat {
        let labels = &self.loaded.signature.labels;
        let probabilities = if self.outputs().predict_proba { labels.len() } else { 0 };
        AnswerFormat { kind: label_kind(labels.first()), outputs: 0, probabilities }
    }

    /// Whether the model has no answer to some rows, which is no fault of the version's.
    pub(crate) fn is_partial(&self) -> bool {
        self.loaded.model.is_partial()
    }

    /// Calls the model with each batch size, so that caches and lazily built tables are filled. Returns the time for
    /// one row of the last one.
    fn warm_up(&self) -> Result<Duration, String> {
        let mut cost = Duration::ZERO;
        for rows in WARM_ROWS {
            let width = self.loaded.model.signature().width();
            let batch = self.example.repeated(rows * width);
            self.unless_untried(self.predict(batch.view(), Output::Predict))?;
            let started = Instant::now();
            self.unless_untried(self.predict(batch.view(), Output::Predict))?;
            cost = started.elapsed() / rows as u32;
        }
        Ok(cost)
    }
}

fn answer_format(scores: &Scores) -> AnswerFormat {
    let probabilities = scores.probabilities(0).len();
    AnswerFormat { kind: label_kind(scores.label(0)), outputs: scores.outputs, probabilities }
}

/// The labels of one output have one type.
fn label_kind(label: Option<&Label>) -> ColumnKind {
    match label {
        None | Some(Label::Float(_)) => ColumnKind::Float,
        Some(Label::Integer(_)) => ColumnKind::Integer,
        Some(Label::Boolean(_)) => ColumnKind::Boolean,
        Some(Label::Text(_)) => ColumnKind::Text,
    }
}

//! One loaded version with its circuit breaker, checked and warmed up.

use std::time::{Duration, Instant};

use forebay_contract::{BreakerState, Features, Problem};
use forebay_model::{LoadedVersion, Scores};
use forebay_runtime::{CircuitAdmission, CircuitBreaker, CircuitPolicy, CircuitState};
use parking_lot::Mutex;

use crate::loader_commands::StateNotifier;
use crate::metrics::VersionMetrics;
use crate::model_call;
use crate::slowed_for_test::SlowedForTest;

/// Rows of the warm-up calls: a single request, a small batch, a full batch.
const WARM_ROWS: [usize; 3] = [1, 16, 256];
/// Most missing features that an error names.
const MISSING_NAMED: usize = 8;

/// A version that can answer.
#[derive(Debug)]
pub struct Version {
    loaded: LoadedVersion,
    label: String,
    breaker: Mutex<CircuitBreaker>,
    row_cost: Duration,
    /// Prepared rows of the input example, with which the breaker probes the version.
    example: Vec<f64>,
    pub(crate) metrics: VersionMetrics,
    /// Notified when its breaker changes.
    notifier: StateNotifier,
    slowed: SlowedForTest,
}

impl Version {
    /// Checks and warms up a version that was loaded. Takes milliseconds or more, so it must not run on an arbiter.
    ///
    /// # Errors
    /// When it cannot answer its own input example (or a row of zeros where it has none), and when its answers differ
    /// from those of the model's origin.
    pub(crate) fn check(
        loaded: LoadedVersion,
        policy: CircuitPolicy,
        metrics: VersionMetrics,
        notifier: StateNotifier,
    ) -> Result<Self, String> {
        model_call::guard(|| loaded.check_example())?.map_err(|error| error.to_string())?;
        let rows = loaded.input_example.clone().filter(|rows| !rows.is_empty());
        let rows = rows.unwrap_or_else(|| vec![vec![0.0; loaded.signature.width()]]);
        let mut version = Self {
            label: format!("v{}", loaded.version),
            breaker: Mutex::new(CircuitBreaker::new(policy)),
            row_cost: Duration::ZERO,
            example: Vec::new(),
            metrics,
            notifier,
            slowed: SlowedForTest::of_model(&loaded.name),
            loaded,
        };
        let mut example = Vec::new();
        rows.iter().try_for_each(|row| version.prepare(row, &mut example))?;
        version.example = example;
        version.answer_example()?;
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

    /// The names of the values of a raw row in order, and whether values may be missing.
    pub(crate) fn row_format(&self) -> (Vec<String>, bool) {
        (self.loaded.signature.features.clone(), self.loaded.accepts_missing)
    }

    /// The digest of the content of its files.
    pub fn digest(&self) -> &[u8; 32] {
        &self.loaded.digest
    }

    /// The time for one row of a full batch, measured at warm-up.
    pub fn row_cost(&self) -> Duration {
        self.row_cost
    }

    /// Appends the row of an item as the model takes it. A row that preprocessing has prepared is used if it was
    /// prepared with the artefact of this version; otherwise the raw row is prepared here.
    ///
    /// # Errors
    /// When the row does not fit this version. `out` is unchanged then.
    pub(crate) fn append(&self, features: &Features, pinned: bool, out: &mut Vec<f64>) -> Result<(), String> {
        let artefact = self.loaded.preprocessing.as_ref().map_or("", |it| it.id());
        // preprocessing passes missing values on while it does not know whether this version accepts them
        if pinned && features.preprocessing == artefact && self.accepts(&features.raw) {
            let row = if features.prepared.is_empty() { &features.raw } else { &features.prepared };
            if row.len() == self.loaded.model.signature().width() {
                out.extend_from_slice(row);
                return Ok(());
            }
        }
        self.prepare(&features.raw, out)
    }

    fn prepare(&self, raw: &[f64], out: &mut Vec<f64>) -> Result<(), String> {
        let (width, got) = (self.loaded.signature.width(), raw.len());
        if got != width {
            return Err(format!("takes {width} features, the row has {got}"));
        }
        if !self.accepts(raw) {
            return Err("cannot fill in missing features".to_owned());
        }
        match &self.loaded.preprocessing {
            None => out.extend_from_slice(raw),
            Some(preprocessing) => {
                let mut row = Vec::new();
                preprocessing.prepare(raw, &mut row).map_err(|error| error.to_string())?;
                out.append(&mut row);
            }
        }
        Ok(())
    }

    /// Whether a raw row has no missing values, or only such as this version fills in.
    fn accepts(&self, raw: &[f64]) -> bool {
        self.loaded.accepts_missing || !raw.iter().any(|value| value.is_nan())
    }

    /// What is wrong with a row that this version cannot answer because values are missing, if it is such a row.
    /// Preprocessing checks this as well, as soon as it knows whether the version fills values in.
    pub(crate) fn missing_values(&self, raw: &[f64]) -> Option<Problem> {
        if self.accepts(raw) || raw.len() != self.loaded.signature.width() {
            return None;
        }
        let named = self.loaded.signature.features.iter().zip(raw).filter(|(_, value)| value.is_nan());
        Some(Problem::missing_features(named.map(|(name, _)| name), MISSING_NAMED))
    }

    /// Whether this version takes the same features in the same order.
    pub(crate) fn takes_rows_of(&self, other: &Version) -> bool {
        self.loaded.signature.features == other.loaded.signature.features
    }

    /// Answers prepared rows.
    ///
    /// # Errors
    /// The error or panic of the model as text.
    pub(crate) fn predict(&self, rows: &[f64]) -> Result<Scores, String> {
        self.slowed.sleep(rows.len() / self.loaded.model.signature().width().max(1));
        model_call::predict(&*self.loaded.model, rows)
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
                Ok(()) => {
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

    /// The state of its breaker.
    pub(crate) fn breaker_state(&self, now: Instant) -> BreakerState {
        match self.breaker.lock().state(now) {
            CircuitState::Closed => BreakerState::Closed,
            CircuitState::Open => BreakerState::Open,
            CircuitState::ProbeDue | CircuitState::Probing => BreakerState::HalfOpen,
        }
    }

    fn answer_example(&self) -> Result<(), String> {
        let scores = self.predict(&self.example)?;
        match (0..scores.len()).find(|&row| !model_call::finite(&scores, row)) {
            Some(row) => Err(format!("the answer to row {row} of its input example is not finite")),
            None => Ok(()),
        }
    }

    /// Calls the model with each batch size, so that caches and lazily built tables are filled. Returns the time for
    /// one row of the last one.
    fn warm_up(&self) -> Result<Duration, String> {
        let mut cost = Duration::ZERO;
        for rows in WARM_ROWS {
            let width = self.loaded.model.signature().width();
            let batch: Vec<f64> = self.example.iter().copied().cycle().take(rows * width).collect();
            self.predict(&batch)?;
            let started = Instant::now();
            self.predict(&batch)?;
            cost = started.elapsed() / rows as u32;
        }
        Ok(cost)
    }
}

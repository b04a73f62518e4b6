//! Answers one group of rows that are pinned to the same version: with that version, or with those that stand in for
//! it.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_contract::{ErrorCode, Features, NOT_FINITE, Problem, Score, UNDEFINED};
use forebay_model::{Output, Scores};

use crate::answer::{check_output, no_answer, row_score};
use crate::model_call::{CallError, abort_for_test, finite};
use crate::row_batch::BatchView;
use crate::version::Version;
use crate::versions::Versions;

/// The result of one row.
#[derive(Debug, Clone)]
pub enum RowResult {
    /// A version has answered the row.
    Answered {
        /// The pinned version, or one of its fallback chain.
        version: Arc<Version>,
        /// Its score; all numbers are finite.
        score: Score,
    },
    /// No version has answered the row.
    Failed(Problem),
}

/// Calls the models. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Inference {
    versions: Arc<Versions>,
    timeout: Duration,
}

/// The version that rows are pinned to.
#[derive(Debug, Clone)]
pub struct PinnedVersion {
    /// The name of the model.
    pub model: String,
    /// The number of the version.
    pub number: u32,
    /// The version, or why it cannot be used.
    pub version: Result<Arc<Version>, String>,
}

/// A group while the versions of its chain are tried.
struct Attempts<'a> {
    rows: &'a [&'a Features],
    output: Output,
    results: Vec<Option<RowResult>>,
    /// Why the versions tried so far did not answer every row.
    reasons: Vec<String>,
    /// The rows for which the pinned version, which is well, has a result that is not finite.
    not_finite: Vec<usize>,
    at: Instant,
}

impl Inference {
    /// A call that takes longer than `timeout` counts as a failure of its version.
    pub fn new(versions: Arc<Versions>, timeout: Duration) -> Self {
        Self { versions, timeout }
    }

    /// The longest time a call may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Answers every row, in order, with the pinned version, then production, then the one before it. Blocks while the
    /// models compute.
    pub fn answer(&self, pinned: &PinnedVersion, rows: &[&Features]) -> Vec<RowResult> {
        abort_for_test(rows);
        let Some(first) = rows.first() else { return Vec::new() };
        if rows.iter().all(|row| row.output == first.output) {
            return self.answer_output(pinned, rows, &first.output);
        }
        // nearly all requests of a version want the same, so few groups are divided
        let mut results: Vec<Option<RowResult>> = rows.iter().map(|_| None).collect();
        while let Some(open) = results.iter().position(Option::is_none) {
            let output = &rows[open].output;
            let same: Vec<usize> = (open..rows.len()).filter(|index| rows[*index].output == *output).collect();
            let part: Vec<&Features> = same.iter().map(|index| rows[*index]).collect();
            for (index, result) in same.into_iter().zip(self.answer_output(pinned, &part, output)) {
                results[index] = Some(result);
            }
        }
        results.into_iter().flatten().collect()
    }

    /// Answers rows that want the same output; an empty name is `predict`.
    fn answer_output(&self, pinned: &PinnedVersion, rows: &[&Features], output: &str) -> Vec<RowResult> {
        let refuse = |problem: Problem| rows.iter().map(|_| RowResult::Failed(problem.clone())).collect();
        let output = match if output.is_empty() { Ok(Output::Predict) } else { output.parse::<Output>() } {
            Ok(output) => output,
            Err(unknown) => return refuse(Problem::new(ErrorCode::InvalidRequest, format!("output: {unknown}"))),
        };
        if let Ok(version) = &pinned.version
            && let Err(problem) = check_output(output, version.outputs(), version.label(), &pinned.model)
        {
            return refuse(problem);
        }
        let (at, results) = (Instant::now(), rows.iter().map(|_| None).collect());
        let mut attempts = Attempts { rows, output, results, reasons: Vec::new(), not_finite: Vec::new(), at };
        match &pinned.version {
            Ok(version) => self.attempt(&mut attempts, version, true),
            Err(why) => attempts.reasons.push(format!("v{} {why}", pinned.number)),
        }
        if attempts.has_open_rows() {
            for version in self.versions.chain(&pinned.model, pinned.number) {
                let fits = pinned.version.as_ref().map_or(true, |pinned| version.takes_rows_of(pinned));
                let fits = fits && version.has(output);
                if fits && attempts.has_open_rows() {
                    self.attempt(&mut attempts, &version, false);
                }
            }
        }
        if let Ok(version) = &pinned.version {
            attempts.reject(|row| version.missing_values(row));
            for index in std::mem::take(&mut attempts.not_finite) {
                attempts.results[index].get_or_insert_with(|| refusal(version, NOT_FINITE));
            }
        }
        attempts.finish(&pinned.model)
    }

    /// Lets one version answer the rows that have no result yet.
    fn attempt(&self, attempts: &mut Attempts<'_>, version: &Arc<Version>, pinned: bool) {
        if let Err(why) = version.admit(attempts.at) {
            return attempts.reasons.push(format!("{} {why}", version.label()));
        }
        let (mut taken, mut batch) = (Vec::with_capacity(attempts.rows.len()), version.new_batch());
        let mut refused = None;
        for (index, row) in attempts.rows.iter().enumerate() {
            if attempts.results[index].is_some() {
                continue;
            }
            match version.append(row, pinned, &mut batch) {
                Ok(()) => taken.push(index),
                Err(CallError::Refused(why)) if pinned => attempts.results[index] = Some(refusal(version, &why)),
                Err(why) => refused = Some(why.into_text()),
            }
        }
        let failed = if taken.is_empty() { None } else { self.call(attempts, (version, pinned), &taken, batch.view()) };
        if let Some(why) = failed.or(refused) {
            attempts.reasons.push(format!("{} {why}", version.label()));
        }
    }

    /// Makes one call for all rows. After an error it makes others, so that one row does not fail its neighbours: one for
    /// each half when the version refuses a row, and else one for each row, which the breaker ends when the version is at
    /// fault and not a row. Returns why a row has no answer, if one has none.
    fn call(
        &self,
        attempts: &mut Attempts<'_>,
        (version, pinned): (&Arc<Version>, bool),
        taken: &[usize],
        rows: BatchView<'_>,
    ) -> Option<String> {
        let started = Instant::now();
        let error = match version.predict(rows, attempts.output) {
            Ok(scores) => return self.keep(attempts, (version, pinned), taken, &scores, started),
            Err(error) => error,
        };
        let part = match (&error, taken) {
            // the pinned version's own rules are the answer; other versions may have other rules
            (CallError::Refused(why), [row]) if pinned => {
                attempts.results[*row] = Some(refusal(version, why));
                return None;
            }
            (CallError::Refused(_), [_]) => return Some(error.into_text()),
            (CallError::Failed(_), [_]) => {
                version.failed(attempts.at);
                return Some(error.into_text());
            }
            (CallError::Refused(_), _) => taken.len().div_ceil(2),
            (CallError::Failed(_), _) => 1,
        };
        let (mut why, mut rest) = (None, rows);
        for part in taken.chunks(part) {
            let (rows, others) = rest.split_at(part.len(), version.batch_width());
            rest = others;
            why = self.call(attempts, (version, pinned), part, rows).or(why);
            if version.is_open() {
                // also for the failures of other batches
                return why.or_else(|| Some("has failed too often".to_owned()));
            }
        }
        why
    }

    /// Keeps the finite answers, and the rows to which the model has none by its own rules. A result that is not finite,
    /// where that for the example is, is the row's fault unless another version has one. The call counts as a failure when
    /// it took too long, or when there is no answer and the version does not answer its example either.
    fn keep(
        &self,
        attempts: &mut Attempts<'_>,
        (version, pinned): (&Arc<Version>, bool),
        taken: &[usize],
        scores: &Scores,
        started: Instant,
    ) -> Option<String> {
        // before the example is asked, whose time is not the call's
        let is_late = started.elapsed() > self.timeout;
        let (mut good, mut left, partial) = (0, 0, version.is_partial());
        // the example is asked once, if at all: a row of a client may make any model overflow
        let example = OnceCell::new();
        let is_well = || *example.get_or_init(|| version.answers_example());
        for (row, &index) in taken.iter().enumerate() {
            let result = if finite(scores, row) {
                good += 1;
                let score = row_score(scores, row, attempts.output, version.output_names());
                RowResult::Answered { version: Arc::clone(version), score }
            } else if partial && pinned {
                refusal(version, UNDEFINED)
            } else {
                left += 1;
                if pinned && is_well() {
                    attempts.not_finite.push(index);
                }
                continue;
            };
            attempts.results[index] = Some(result);
        }
        if is_late || (good == 0 && !partial && !is_well()) {
            version.failed(attempts.at);
        } else if good > 0 {
            version.succeeded();
        }
        version.metrics.rows.inc_by(good);
        (left > 0).then(|| "gave a result that is not finite".to_owned())
    }
}

/// The result of a row that a version has no answer to, by its own rules.
fn refusal(version: &Version, why: &str) -> RowResult {
    RowResult::Failed(no_answer(version.label(), why))
}

impl Attempts<'_> {
    /// Fails rows that no version has answered because of the client's mistake.
    fn reject(&mut self, problem: impl Fn(&Features) -> Option<Problem>) {
        for (result, row) in self.results.iter_mut().zip(self.rows).filter(|(result, _)| result.is_none()) {
            *result = problem(row).map(RowResult::Failed);
        }
    }

    fn has_open_rows(&self) -> bool {
        self.results.iter().any(Option::is_none)
    }

    fn finish(self, model: &str) -> Vec<RowResult> {
        let Self { results, reasons, .. } = self;
        let problem = || {
            let message = format!("no version of model {:?} can answer: {}", model, reasons.join("; "));
            RowResult::Failed(Problem::new(ErrorCode::ModelUnavailable, message))
        };
        results.into_iter().map(|result| result.unwrap_or_else(problem)).collect()
    }
}

#[cfg(test)]
mod tests;

//! Answers one group of rows that are pinned to the same version: with that version, or with those that stand in for
//! it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_contract::{ErrorCode, Features, Problem, Score};
use forebay_model::{Output, Scores};

use crate::answer::{check_output, row_score};
use crate::model_call::{abort_for_test, finite};
use crate::row_batch::RowBatch;
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
        let mut attempts = Attempts { rows, output, results, reasons: Vec::new(), at };
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
        for (index, row) in attempts.rows.iter().enumerate().filter(|(index, _)| attempts.results[*index].is_none()) {
            match version.append(row, pinned, &mut batch) {
                Ok(()) => taken.push(index),
                Err(why) => refused = Some(why),
            }
        }
        let failed = if taken.is_empty() { None } else { self.call(attempts, version, &taken, &batch) };
        if let Some(why) = failed.or(refused) {
            attempts.reasons.push(format!("{} {why}", version.label()));
        }
    }

    /// Makes one call for all rows and, after an error, one for each, so that one bad row does not fail the others. The
    /// breaker ends this when the version is at fault and not a row. Returns why a row has no answer, if one has none.
    fn call(
        &self,
        attempts: &mut Attempts<'_>,
        version: &Arc<Version>,
        taken: &[usize],
        batch: &RowBatch,
    ) -> Option<String> {
        let started = Instant::now();
        let mut why = match version.predict(batch.view(), attempts.output) {
            Ok(scores) => return self.keep(attempts, version, taken, &scores, started),
            Err(why) => why,
        };
        if taken.len() == 1 {
            version.failed(attempts.at);
            return Some(why);
        }
        let mut left = false;
        for (index, row) in taken.iter().zip(batch.rows(version.batch_width())) {
            let started = Instant::now();
            let failed = match version.predict(row, attempts.output) {
                Ok(scores) => self.keep(attempts, version, std::slice::from_ref(index), &scores, started),
                Err(error) => {
                    let open = version.failed(attempts.at);
                    why = error;
                    left = true;
                    if open {
                        break;
                    }
                    continue;
                }
            };
            if let Some(error) = failed {
                (why, left) = (error, true);
            }
        }
        (left || attempts.has_open_rows()).then_some(why)
    }

    /// Keeps the finite answers, and the rows to which the model has none. The call counts as a failure when neither is
    /// there or when it took too long.
    fn keep(
        &self,
        attempts: &mut Attempts<'_>,
        version: &Arc<Version>,
        taken: &[usize],
        scores: &Scores,
        started: Instant,
    ) -> Option<String> {
        let (mut good, mut settled, partial) = (0, 0, version.is_partial());
        for (row, &index) in taken.iter().enumerate() {
            let result = if finite(scores, row) {
                good += 1;
                let score = row_score(scores, row, attempts.output, version.output_names());
                RowResult::Answered { version: Arc::clone(version), score }
            } else if partial {
                let text =
                    format!("{} has no answer to this row: it is outside of what it was fitted on", version.label());
                RowResult::Failed(Problem::new(ErrorCode::InvalidFeatures, text))
            } else {
                continue;
            };
            attempts.results[index] = Some(result);
            settled += 1;
        }
        if settled > 0 && started.elapsed() <= self.timeout {
            version.succeeded();
        } else {
            version.failed(attempts.at);
        }
        version.metrics.rows.inc_by(good);
        (settled < taken.len()).then(|| "gave a result that is not finite".to_owned())
    }
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

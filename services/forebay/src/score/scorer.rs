//! Applies the rules and the model to a chunk. The rules are those of the mesh, so that a row which is refused there is
//! refused here, with the same message.

use std::io::Write as _;

use forebay_contract::{ErrorCode, Problem};
use forebay_ingestion::parse::parse_line;
use forebay_model::{Label, LoadedVersion, ModelError, PrepareError, Rows, Scores};
use forebay_preprocessing::{RowRules, RowShape};

use super::chunk::{Chunk, Fields};
use super::row_counts::RowCounts;
use crate::columns::Columns;

/// One model and how its rows are written; shared by the threads that score.
#[derive(Debug)]
pub(crate) struct Scorer {
    loaded: LoadedVersion,
    shape: RowShape,
    /// Where a CSV record has the features; `None` when rows are JSON.
    columns: Option<Columns>,
    /// Class labels as JSON.
    labels: Vec<String>,
}

/// Answers of a chunk.
#[derive(Debug)]
pub(super) struct Scored {
    /// One JSON document a line.
    pub text: Vec<u8>,
    pub counts: RowCounts,
}

/// Whether a record can be scored.
type RowOutcome = Result<(), Problem>;

impl Scorer {
    pub(crate) fn new(loaded: LoadedVersion, columns: Option<Columns>, rules: &RowRules) -> Self {
        let signature = &loaded.signature;
        let shape = RowShape::new(&loaded.name, signature.features.clone(), loaded.accepts_missing, rules);
        let labels = labels_as_json(&signature.labels);
        Self { loaded, shape, columns, labels }
    }

    /// Answers every record of `chunk`, in order.
    pub(super) fn score(&self, chunk: &Chunk) -> Scored {
        let width = self.loaded.model.signature().width();
        let mut rows = Vec::with_capacity(chunk.len() * width);
        let mut row = Vec::new();
        let mut verdicts: Vec<RowOutcome> =
            chunk.iter().map(|fields| self.prepare(&fields, &mut row).map(|()| rows.extend_from_slice(&row))).collect();
        let scores = self.predict(width, &rows, &mut verdicts);
        let mut scored = Scored { text: Vec::with_capacity(chunk.len() * 48), counts: RowCounts::default() };
        let mut next = scores.iter().flat_map(|scores| (0..scores.len()).map(move |index| (scores, index)));
        for (fields, verdict) in chunk.iter().zip(verdicts) {
            let answer = verdict.and_then(|()| match next.next() {
                Some((scores, index)) if finite(scores, index) => Ok((scores, index)),
                Some(_) => Err(unavailable("the model gave a result that is not finite")),
                None => Err(Problem::new(ErrorCode::Internal, "the model gave too few answers")),
            });
            scored.counts.rows += 1;
            match answer {
                Ok((scores, index)) => self.write(scores, index, &mut scored.text),
                Err(problem) => {
                    scored.counts.fail(fields.line, &problem);
                    write_error(&problem, fields.line, &mut scored.text);
                }
            }
        }
        scored
    }

    /// Reads a record into `row`, as the model takes it.
    fn prepare(&self, fields: &Fields<'_>, row: &mut Vec<f64>) -> RowOutcome {
        if let Some(why) = fields.lost {
            return Err(Problem::new(ErrorCode::PayloadTooLarge, why));
        }
        let raw = match &self.columns {
            None => {
                let read = parse_line(fields.get(0))?;
                self.shape.check(read.values, &read.names)?
            }
            Some(columns) => {
                let mut raw = std::mem::take(row);
                raw.clear();
                columns.read(fields.len(), |index| fields.get(index), &mut raw)?;
                self.shape.check(raw, &[])?
            }
        };
        let Some(preprocessing) = &self.loaded.preprocessing else {
            *row = raw;
            return Ok(());
        };
        preprocessing.prepare(&raw, row).map_err(|error| match error {
            PrepareError::Infinite { .. } => invalid("a feature is not finite".to_owned()),
            error => invalid(format!("preprocessing: {error}")),
        })?;
        if row.iter().any(|value| value.is_infinite()) {
            return Err(invalid("a feature is too large for the preprocessing".to_owned()));
        }
        Ok(())
    }

    /// The model's answers to the sound rows, in pieces: a batch that fails is predicted row by row, so that one row
    /// does not fail its neighbours.
    fn predict(&self, width: usize, rows: &[f64], verdicts: &mut [RowOutcome]) -> Vec<Scores> {
        let predict = |rows| Rows::new(width, rows).and_then(|rows| self.loaded.model.predict(rows));
        if rows.is_empty() {
            return Vec::new();
        }
        if let Ok(scores) = predict(rows) {
            return vec![scores];
        }
        let mut answers = Vec::new();
        let sound = verdicts.iter_mut().filter(|verdict| verdict.is_ok());
        for (verdict, row) in sound.zip(rows.chunks_exact(width.max(1))) {
            match predict(row) {
                Ok(scores) => answers.push(scores),
                Err(ModelError::Execution(why)) => *verdict = Err(unavailable(&why)),
                Err(error) => *verdict = Err(invalid(error.to_string())),
            }
        }
        answers
    }

    fn write(&self, scores: &Scores, index: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"prediction\":");
        let class = scores.labels.get(index).and_then(|class| self.labels.get(*class as usize));
        match class {
            Some(label) => out.extend_from_slice(label.as_bytes()),
            None => json(&scores.values[index], out),
        }
        let probabilities = scores.probabilities(index);
        if !probabilities.is_empty() {
            out.extend_from_slice(b",\"probabilities\":");
            json(probabilities, out);
        }
        out.extend_from_slice(b"}\n");
    }
}

fn finite(scores: &Scores, index: usize) -> bool {
    // the value of a class may be a label's text read as a number
    let value = scores.labels.get(index).is_some() || scores.values[index].is_finite();
    value && scores.probabilities(index).iter().all(|p| p.is_finite())
}

fn write_error(problem: &Problem, line: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"error\":{\"code\":");
    json(problem.code.as_str(), out);
    out.extend_from_slice(b",\"message\":");
    json(problem.message.as_str(), out);
    // writing to a vector cannot fail
    let _ = writeln!(out, ",\"line\":{line}}}}}");
}

/// Shortest form that reads back as the same number; the values given here are finite.
fn json<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    // writing to a vector cannot fail
    let _ = serde_json::to_writer(out, value);
}

fn invalid(message: String) -> Problem {
    Problem::new(ErrorCode::InvalidFeatures, message)
}

fn unavailable(message: &str) -> Problem {
    Problem::new(ErrorCode::ModelUnavailable, message)
}

/// The labels as JSON, each of its own type.
fn labels_as_json(labels: &[Label]) -> Vec<String> {
    // a number, a boolean or text can always be written
    labels.iter().map(|label| serde_json::to_string(label).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_their_type() {
        let labels = [Label::Integer(-1), Label::Float(1.5), Label::Boolean(true), "0".into(), "a\"b".into()];
        assert_eq!(labels_as_json(&labels), ["-1", "1.5", "true", "\"0\"", "\"a\\\"b\""]);
    }
}

//! Applies the rules and the model to a chunk. The rules are those of the mesh, so that a row which is refused there is
//! refused here, with the same message.

use std::io::Write as _;

use forebay_contract::{ErrorCode, Label, PredictedValue, Problem};
use forebay_ingestion::parse::parse_line;
use forebay_model::{
    ColumnKind, Label as ModelLabel, LoadedVersion, ModelError, Output, PrepareError, Rows, Scores, TypedRows, Value,
};
use forebay_prediction::{model_value, row_score};
use forebay_preprocessing::{CheckedRow, RowRules, RowShape};

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
    /// What the answers hold.
    output: Output,
    /// Whether a column has text.
    has_text: bool,
}

/// Rows as the model takes them, row-major.
enum ModelRows {
    Numbers(Vec<f64>),
    Values(Vec<Value>),
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
    /// Answers with `output` of `loaded`, which has it.
    pub(crate) fn new(loaded: LoadedVersion, columns: Option<Columns>, rules: &RowRules, output: Output) -> Self {
        let signature = &loaded.signature;
        let kinds = loaded.columns.iter().map(|column| column.kind).collect();
        let optional = loaded.columns.iter().map(|column| column.optional).collect();
        let shape = RowShape::new(&loaded.name, signature.features.clone(), loaded.accepts_missing, rules);
        let labels = labels_as_json(&signature.labels);
        let has_text = loaded.columns.iter().any(|column| column.kind == ColumnKind::Text);
        Self { shape: shape.with_columns(kinds, optional), loaded, columns, labels, output, has_text }
    }

    /// Answers every record of `chunk`, in order.
    pub(super) fn score(&self, chunk: &Chunk) -> Scored {
        let width = self.loaded.model.signature().width();
        let mut rows = match self.loaded.is_typed() {
            true => ModelRows::Values(Vec::with_capacity(chunk.len() * width)),
            false => ModelRows::Numbers(Vec::with_capacity(chunk.len() * width)),
        };
        let mut row = Vec::new();
        let mut verdicts: Vec<RowOutcome> =
            chunk.iter().map(|fields| self.prepare(&fields, &mut row, &mut rows)).collect();
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

    /// Reads a record and appends it to `rows`, as the model takes it. `row` is a buffer.
    fn prepare(&self, fields: &Fields<'_>, row: &mut Vec<f64>, rows: &mut ModelRows) -> RowOutcome {
        if let Some(why) = fields.lost {
            return Err(Problem::new(ErrorCode::PayloadTooLarge, why));
        }
        let checked = match &self.columns {
            None => {
                let read = parse_line(fields.get(0))?;
                let read = if self.has_text { read.into_exact() } else { read };
                self.shape.check_row(read.values, read.mixed, &read.names)?
            }
            Some(columns) if columns.has_kinds() => {
                let values = columns.read_values(fields.len(), |index| fields.get(index))?;
                self.shape.check_row(Vec::new(), values, &[])?
            }
            Some(columns) => {
                let mut raw = std::mem::take(row);
                raw.clear();
                columns.read(fields.len(), |index| fields.get(index), &mut raw)?;
                self.shape.check_row(raw, Vec::new(), &[])?
            }
        };
        match (checked, rows) {
            (CheckedRow::Numbers(raw), ModelRows::Numbers(rows)) => {
                *row = raw;
                self.append_prepared(row, rows)
            }
            (CheckedRow::Numbers(raw), ModelRows::Values(rows)) => {
                let columns = &self.loaded.columns;
                rows.extend(raw.into_iter().zip(columns).map(|(number, column)| Value::of_number(number, column.kind)));
                Ok(())
            }
            (CheckedRow::Values(values), ModelRows::Values(rows)) => {
                rows.extend(values.iter().map(model_value));
                Ok(())
            }
            // an integer that no double holds, or text that nothing reads, for a model of numbers
            (CheckedRow::Values(values), ModelRows::Numbers(rows)) => {
                let number = |(index, value)| self.loaded.number_of(index, &model_value(value));
                let numbers: Option<Vec<f64>> = values.iter().enumerate().map(number).collect();
                *row = numbers.ok_or_else(|| invalid("the model takes numbers, the row has text".to_owned()))?;
                self.append_prepared(row, rows)
            }
        }
    }

    /// Applies the preprocessing artefact to a row of numbers and appends it.
    fn append_prepared(&self, row: &[f64], rows: &mut Vec<f64>) -> RowOutcome {
        let Some(preprocessing) = &self.loaded.preprocessing else {
            rows.extend_from_slice(row);
            return Ok(());
        };
        let mut prepared = Vec::with_capacity(preprocessing.output_width());
        preprocessing.prepare(row, &mut prepared).map_err(|error| match error {
            PrepareError::Infinite { .. } => invalid("a feature is not finite".to_owned()),
            error => invalid(format!("preprocessing: {error}")),
        })?;
        if prepared.iter().any(|value| value.is_infinite()) {
            return Err(invalid("a feature is too large for the preprocessing".to_owned()));
        }
        rows.append(&mut prepared);
        Ok(())
    }

    /// The model's answers to the sound rows, in pieces: a batch that fails is predicted row by row, so that one row
    /// does not fail its neighbours.
    fn predict(&self, width: usize, rows: &ModelRows, verdicts: &mut [RowOutcome]) -> Vec<Scores> {
        match rows {
            ModelRows::Numbers(rows) => {
                in_pieces(width, rows, verdicts, |rows| self.predict_numbers(Rows::new(width, rows)?))
            }
            ModelRows::Values(rows) => in_pieces(width, rows, verdicts, |rows| {
                self.loaded.model.predict_output(TypedRows::new(width, rows)?, self.output)
            }),
        }
    }

    fn predict_numbers(&self, rows: Rows<'_>) -> Result<Scores, ModelError> {
        if matches!(self.output, Output::Predict | Output::PredictProba) {
            return self.loaded.model.predict(rows);
        }
        let values: Vec<Value> = rows.values().iter().copied().map(Value::from).collect();
        self.loaded.model.predict_output(TypedRows::new(rows.width(), &values)?, self.output)
    }

    fn write(&self, scores: &Scores, index: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"prediction\":");
        let mut classes = Vec::new();
        if scores.outputs == 1 && self.output == Output::Predict {
            let class = scores.labels.get(index).and_then(|class| self.labels.get(*class as usize));
            match class {
                Some(label) => out.extend_from_slice(label.as_bytes()),
                None => json(&scores.values[index], out),
            }
        } else {
            let score = row_score(scores, index, self.output, &self.loaded.output_names);
            json(&PredictedValue::from(&score), out);
            classes = score.classes;
        }
        let probabilities = scores.probabilities(index);
        if !probabilities.is_empty() {
            out.extend_from_slice(b",\"probabilities\":");
            json(probabilities, out);
        }
        if !classes.is_empty() {
            out.extend_from_slice(b",\"classes\":");
            json(&classes.iter().map(Label::typed).collect::<Vec<_>>(), out);
        }
        out.extend_from_slice(b"}\n");
    }
}

/// Predicts rows with `predict`, all at once or, if that fails, one by one.
fn in_pieces<T>(
    width: usize,
    rows: &[T],
    verdicts: &mut [RowOutcome],
    predict: impl Fn(&[T]) -> Result<Scores, ModelError>,
) -> Vec<Scores> {
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

fn finite(scores: &Scores, index: usize) -> bool {
    // the value of a class may be a label's text read as a number
    let value = !scores.labels.is_empty() || scores.row(index).iter().all(|value| value.is_finite());
    value && scores.probabilities(index).iter().chain(scores.decision(index)).all(|p| p.is_finite())
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
fn labels_as_json(labels: &[ModelLabel]) -> Vec<String> {
    // a number, a boolean or text can always be written
    labels.iter().map(|label| serde_json::to_string(label).unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_their_type() {
        let labels =
            [ModelLabel::Integer(-1), ModelLabel::Float(1.5), ModelLabel::Boolean(true), "0".into(), "a\"b".into()];
        assert_eq!(labels_as_json(&labels), ["-1", "1.5", "true", "\"0\"", "\"a\\\"b\""]);
    }
}

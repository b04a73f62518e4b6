//! Applies the rules and the model to a chunk. The rules are those of the mesh, so that a row which is refused there is
//! refused here, with the same message.

use std::io::Write as _;

use forebay_contract::{ErrorCode, Label, PredictedValue, Problem};
use forebay_ingestion::parse::{Line, parse_line};
use forebay_model::{
    ColumnKind, Label as ModelLabel, LoadedVersion, ModelError, Output, PrepareError, Rows, Scores, TypedRows, Value,
};
use forebay_prediction::{check_output, model_value, row_score};
use forebay_preprocessing::{AnswerRules, CheckedRow, RowRules, RowShape};

use super::answers::{Answers, OutputGroup, RowPlace};
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
    /// What a row may request.
    rules: AnswerRules,
    /// What the answer to a row that names no output holds.
    output: Result<Output, Problem>,
    /// Whether a column has text.
    has_text: bool,
}

/// Answers of a chunk.
#[derive(Debug)]
pub(super) struct Scored {
    /// One JSON document a line.
    pub text: Vec<u8>,
    pub counts: RowCounts,
}

impl Scorer {
    /// Answers with the output that a row names, else with `output`.
    pub(crate) fn new(
        loaded: LoadedVersion,
        columns: Option<Columns>,
        rules: &RowRules,
        (answers, output): (AnswerRules, Result<Output, Problem>),
    ) -> Self {
        let signature = &loaded.signature;
        let kinds = loaded.columns.iter().map(|column| column.kind).collect();
        let optional = loaded.columns.iter().map(|column| column.optional).collect();
        let shape = RowShape::new(&loaded.name, signature.features.clone(), loaded.accepts_missing, rules);
        let labels = labels_as_json(&signature.labels);
        let has_text = loaded.columns.iter().any(|column| column.kind == ColumnKind::Text);
        let shape = shape.with_columns(kinds, optional);
        Self { shape, loaded, columns, labels, rules: answers, output, has_text }
    }

    /// Answers every record of `chunk`, in order.
    pub(super) fn score(&self, chunk: &Chunk) -> Scored {
        let mut groups = Vec::with_capacity(1);
        let mut row = Vec::new();
        let places: Vec<Result<RowPlace, Problem>> =
            chunk.iter().map(|fields| self.prepare(&fields, &mut row, (&mut groups, chunk.len()))).collect();
        let width = self.loaded.model.signature().width();
        let answers: Vec<Answers> = groups.iter().map(|group| self.predict(width, group)).collect();
        let mut scored = Scored { text: Vec::with_capacity(chunk.len() * 48), counts: RowCounts::default() };
        for (fields, place) in chunk.iter().zip(places) {
            let answer = place.and_then(|place| {
                let (scores, index) = answers[place.group].of_row(place.index)?;
                match finite(scores, index) {
                    true => Ok((scores, index, groups[place.group].output)),
                    false => Err(unavailable("the model gave a result that is not finite")),
                }
            });
            scored.counts.rows += 1;
            match answer {
                Ok((scores, index, output)) => self.write(scores, (index, output), &mut scored.text),
                Err(problem) => {
                    scored.counts.fail(fields.line, &problem);
                    write_error(&problem, fields.line, &mut scored.text);
                }
            }
        }
        scored
    }

    /// Reads a record and appends it to the rows that want the same output, as the model takes it. `row` is a buffer, and
    /// `room` the number of rows to make room for.
    fn prepare(
        &self,
        fields: &Fields<'_>,
        row: &mut Vec<f64>,
        (groups, room): (&mut Vec<OutputGroup>, usize),
    ) -> Result<RowPlace, Problem> {
        if let Some(why) = fields.lost {
            return Err(Problem::new(ErrorCode::PayloadTooLarge, why));
        }
        let (checked, output) = match &self.columns {
            None => {
                let Line { row: read, output, params } = parse_line(fields.get(0))?;
                let output = match output.as_str() {
                    "" => self.output.clone()?,
                    output => self.rules.output(output)?,
                };
                self.rules.check_params(&params)?;
                let read = if self.has_text { read.into_exact() } else { read };
                (self.shape.check_row(read.values, read.mixed, &read.names)?, output)
            }
            Some(columns) if columns.has_kinds() => {
                let values = columns.read_values(fields.len(), |index| fields.get(index))?;
                (self.shape.check_row(Vec::new(), values, &[])?, self.output.clone()?)
            }
            Some(columns) => {
                let mut raw = std::mem::take(row);
                raw.clear();
                columns.read(fields.len(), |index| fields.get(index), &mut raw)?;
                (self.shape.check_row(raw, Vec::new(), &[])?, self.output.clone()?)
            }
        };
        let label = format_args!("v{}", self.loaded.version);
        check_output(output, self.loaded.model.outputs(), label, &self.loaded.name)?;
        let at = groups.iter().position(|group| group.output == output).unwrap_or_else(|| {
            let room = room * self.loaded.model.signature().width();
            groups.push(OutputGroup::new(output, self.loaded.is_typed(), room));
            groups.len() - 1
        });
        let group = &mut groups[at];
        self.append(checked, row, group)?;
        group.count += 1;
        Ok(RowPlace { group: at, index: group.count - 1 })
    }

    /// Appends a row as the model takes it. `row` is a buffer.
    fn append(&self, checked: CheckedRow, row: &mut Vec<f64>, group: &mut OutputGroup) -> Result<(), Problem> {
        match (checked, group.typed) {
            (CheckedRow::Numbers(raw), false) => {
                *row = raw;
                self.append_prepared(row, &mut group.numbers)
            }
            (CheckedRow::Numbers(raw), true) => {
                let columns = &self.loaded.columns;
                let values = raw.into_iter().zip(columns).map(|(number, column)| Value::of_number(number, column.kind));
                group.values.extend(values);
                Ok(())
            }
            (CheckedRow::Values(values), true) => {
                group.values.extend(values.iter().map(model_value));
                Ok(())
            }
            // an integer that no double holds, or text that nothing reads, for a model of numbers
            (CheckedRow::Values(values), false) => {
                let number = |(index, value)| self.loaded.number_of(index, &model_value(value));
                let numbers: Option<Vec<f64>> = values.iter().enumerate().map(number).collect();
                *row = numbers.ok_or_else(|| invalid("the model takes numbers, the row has text".to_owned()))?;
                self.append_prepared(row, &mut group.numbers)
            }
        }
    }

    /// Applies the preprocessing artefact to a row of numbers and appends it.
    fn append_prepared(&self, row: &[f64], rows: &mut Vec<f64>) -> Result<(), Problem> {
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

    /// The model's answers to the rows of a group.
    fn predict(&self, width: usize, group: &OutputGroup) -> Answers {
        match group.typed {
            false => {
                Answers::of(width, &group.numbers, |rows| self.predict_numbers(Rows::new(width, rows)?, group.output))
            }
            true => Answers::of(width, &group.values, |rows| {
                self.loaded.model.predict_output(TypedRows::new(width, rows)?, group.output)
            }),
        }
    }

    fn predict_numbers(&self, rows: Rows<'_>, output: Output) -> Result<Scores, ModelError> {
        if matches!(output, Output::Predict | Output::PredictProba) {
            return self.loaded.model.predict(rows);
        }
        let values: Vec<Value> = rows.values().iter().copied().map(Value::from).collect();
        self.loaded.model.predict_output(TypedRows::new(rows.width(), &values)?, output)
    }

    fn write(&self, scores: &Scores, (index, output): (usize, Output), out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"prediction\":");
        let mut classes = Vec::new();
        if scores.outputs == 1 && output == Output::Predict {
            let class = scores.labels.get(index).and_then(|class| self.labels.get(*class as usize));
            match class {
                Some(label) => out.extend_from_slice(label.as_bytes()),
                None => json(&scores.values[index], out),
            }
        } else {
            let score = row_score(scores, index, output, &self.loaded.output_names);
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

pub(super) fn invalid(message: String) -> Problem {
    Problem::new(ErrorCode::InvalidFeatures, message)
}

pub(super) fn unavailable(message: &str) -> Problem {
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

//! Applies the rules and the model to records. The rules are those of the mesh, so that a row which is refused there is
//! refused here, with the same message.

use forebay_contract::{ErrorCode, Problem, UNDEFINED};
use forebay_ingestion::parse::{Line, parse_line};
use forebay_model::{ColumnKind, LoadedVersion, ModelError, Output, PrepareError, Rows, Scores, TypedRows, Value};
use forebay_prediction::{check_output, model_value, no_answer};
use forebay_preprocessing::{AnswerRules, CheckedRow, RowRules, RowShape};

use super::answer_text::{AnswerText, is_finite, write_error};
use super::answers::{Answers, OutputGroup, RowPlace};
use super::chunk::Fields;
use super::columnar::RowBatch;
use super::input::Records;
use super::row_counts::RowCounts;
use crate::columns::Columns;

/// One model and how its rows are written; shared by the threads that score.
#[derive(Debug)]
pub(crate) struct Scorer {
    loaded: LoadedVersion,
    shape: RowShape,
    /// Where a CSV record has the features; `None` for other formats.
    columns: Option<Columns>,
    text: AnswerText,
    /// What a row may request.
    rules: AnswerRules,
    /// What the answer to a row that names no output holds.
    output: Result<Output, Problem>,
    /// Whether a column has text.
    has_text: bool,
    /// Whether a column is of another kind than float.
    takes_values: bool,
}

/// Answers to consecutive records.
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
        let text = AnswerText::new(&signature.labels, &loaded.output_names);
        let has_text = loaded.columns.iter().any(|column| column.kind == ColumnKind::Text);
        let takes_values = loaded.columns.iter().any(|column| column.kind != ColumnKind::Float);
        let shape = shape.with_columns(kinds, optional);
        Self { takes_values, shape, loaded, columns, text, rules: answers, output, has_text }
    }

    /// Answers every record, in order.
    pub(super) fn score(&self, records: &Records) -> Scored {
        let count = records.len();
        let mut groups = Vec::with_capacity(1);
        let mut row = Vec::new();
        let mut places = Vec::with_capacity(count);
        match records {
            Records::Text(chunk) => chunk.iter().for_each(|fields| {
                let read = self.read_text(&fields, &mut row);
                places.push((fields.line, self.place(read, &mut row, (&mut groups, count))));
            }),
            Records::Rows(batch) => batch.numbers().enumerate().for_each(|(index, number)| {
                let read = self.read_columns(batch, index, &mut row);
                places.push((number, self.place(read, &mut row, (&mut groups, count))));
            }),
        }
        let width = self.loaded.model.signature().width();
        let answers: Vec<Answers> = groups.iter().map(|group| self.predict(width, group)).collect();
        let mut scored = Scored { text: Vec::with_capacity(count * 48), counts: RowCounts::default() };
        for (number, place) in places {
            let answer = place.and_then(|place| {
                let (scores, index) = answers[place.group].of_row(place.index)?;
                match is_finite(scores, index) {
                    true => Ok((scores, index, groups[place.group].output)),
                    false if self.loaded.model.is_partial() => {
                        Err(no_answer(format_args!("v{}", self.loaded.version), UNDEFINED))
                    }
                    false => Err(unavailable("the model gave a result that is not finite")),
                }
            });
            scored.counts.rows += 1;
            match answer {
                Ok((scores, index, output)) => self.text.write(scores, (index, output), &mut scored.text),
                Err(problem) => {
                    scored.counts.fail(number, &problem);
                    write_error(&problem, (records.unit(), number), &mut scored.text);
                }
            }
        }
        scored
    }

    /// Reads a record of text, and the output that it wants. `row` is a buffer.
    fn read_text(&self, fields: &Fields<'_>, row: &mut Vec<f64>) -> Result<(CheckedRow, Output), Problem> {
        if let Some(why) = fields.lost {
            return Err(Problem::new(ErrorCode::PayloadTooLarge, why));
        }
        match &self.columns {
            None => {
                let Line { row: read, output, params } = parse_line(fields.get(0))?;
                let output = match output.as_str() {
                    "" => self.output.clone()?,
                    output => self.rules.output(output)?,
                };
                self.rules.check_params(&params)?;
                let read = if self.has_text { read.into_exact() } else { read };
                Ok((self.shape.check_row(read.values, read.mixed, &read.names)?, output))
            }
            Some(columns) if columns.has_kinds() => {
                let values = columns.read_values(fields.len(), |index| fields.get(index))?;
                Ok((self.shape.check_row(Vec::new(), values, &[])?, self.output.clone()?))
            }
            Some(columns) => {
                let mut raw = std::mem::take(row);
                raw.clear();
                columns.read(fields.len(), |index| fields.get(index), &mut raw)?;
                Ok((self.shape.check_row(raw, Vec::new(), &[])?, self.output.clone()?))
            }
        }
    }

    /// Reads a row of columns. `row` is a buffer.
    fn read_columns(
        &self,
        batch: &RowBatch,
        index: usize,
        row: &mut Vec<f64>,
    ) -> Result<(CheckedRow, Output), Problem> {
        if self.takes_values || batch.has_text() {
            return Ok((self.shape.check_row(Vec::new(), batch.values(index), &[])?, self.output.clone()?));
        }
        let mut raw = std::mem::take(row);
        raw.clear();
        batch.append_numbers(index, &mut raw);
        Ok((self.shape.check_row(raw, Vec::new(), &[])?, self.output.clone()?))
    }

    /// Appends a row that was read to those that want the same output. `row` is a buffer, and `room` the number of rows to
    /// make room for.
    fn place(
        &self,
        read: Result<(CheckedRow, Output), Problem>,
        row: &mut Vec<f64>,
        (groups, room): (&mut Vec<OutputGroup>, usize),
    ) -> Result<RowPlace, Problem> {
        let (checked, output) = read?;
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
            error => invalid(format!("preprocessing: {}", error.describe(&self.loaded.signature.features))),
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
                let predict = |rows: &[f64]| self.predict_numbers(Rows::new(width, rows)?, group.output);
                Answers::of(&self.loaded, &group.numbers, predict)
            }
            true => Answers::of(&self.loaded, &group.values, |rows| {
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
}

pub(super) fn invalid(message: String) -> Problem {
    Problem::new(ErrorCode::InvalidFeatures, message)
}

pub(super) fn unavailable(message: &str) -> Problem {
    Problem::new(ErrorCode::ModelUnavailable, message)
}

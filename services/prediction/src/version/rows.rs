//! The rows that a version takes: their form, and how the row of an item becomes one for its model.

use forebay_contract::{ColumnKind as WireKind, Features, Problem, RowFormat, Value as WireValue};
use forebay_model::{ColumnKind, Output, PrepareError, Value};

use super::Version;
use crate::model_call::CallError;
use crate::row_batch::{RowBatch, model_value};

/// Most missing features that an error names.
const MISSING_NAMED: usize = 8;

impl Version {
    /// What a raw row looks like.
    pub(crate) fn row_format(&self) -> RowFormat {
        let columns = &self.loaded.columns;
        let numbers = columns.iter().all(|column| column.kind == ColumnKind::Float);
        let kinds = columns.iter().filter(|_| !numbers).map(|column| wire_kind(column.kind).into());
        let optional = columns.iter().any(|column| column.optional);
        RowFormat {
            features: self.loaded.signature.features.clone(),
            accepts_missing: self.loaded.accepts_missing,
            versions: Vec::new(),
            kinds: kinds.collect(),
            optional: columns.iter().filter(|_| optional).map(|column| column.optional).collect(),
            answer: self.answer.kind.into(),
            outputs: u32::try_from(self.answer.outputs).unwrap_or_default(),
            probabilities: u32::try_from(self.answer.probabilities).unwrap_or_default(),
            decision_function: self.has(Output::DecisionFunction),
            params: self.loaded.params.iter().map(|param| param.name.clone()).collect(),
            output_name: match (&*self.loaded.output_names, self.answer.outputs) {
                ([name], 1) => name.clone(),
                _ => String::new(),
            },
        }
    }

    /// Appends the row of an item as the model takes it. A row that preprocessing has prepared is used if it was
    /// prepared with the artefact of this version; otherwise the raw row is prepared here.
    ///
    /// # Errors
    /// When the row does not fit this version, or its preprocessing refuses it. `out` is unchanged then.
    pub(crate) fn append(&self, features: &Features, pinned: bool, out: &mut RowBatch) -> Result<(), CallError> {
        let out = match out {
            RowBatch::Values(out) => return self.append_values(features, out).map_err(CallError::Failed),
            RowBatch::Numbers(out) => out,
        };
        if !features.values.is_empty() {
            return self.prepare(&self.numbers(&features.values).map_err(CallError::Failed)?, out);
        }
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

    fn prepare(&self, raw: &[f64], out: &mut Vec<f64>) -> Result<(), CallError> {
        let (width, got) = (self.loaded.signature.width(), raw.len());
        if got != width {
            return Err(CallError::Failed(format!("takes {width} features, the row has {got}")));
        }
        if !self.accepts(raw) {
            return Err(CallError::Failed("cannot fill in missing features".to_owned()));
        }
        match &self.loaded.preprocessing {
            None => out.extend_from_slice(raw),
            Some(preprocessing) => {
                let mut row = Vec::new();
                preprocessing.prepare(raw, &mut row).map_err(|error| self.prepare_error(&error))?;
                out.append(&mut row);
            }
        }
        Ok(())
    }

    fn prepare_error(&self, error: &PrepareError) -> CallError {
        match error {
            PrepareError::Width { .. } => CallError::Failed(error.to_string()),
            error => CallError::Refused(error.describe(&self.loaded.signature.features)),
        }
    }

    /// Appends a row of the input example.
    pub(super) fn append_example(&self, row: &[Value], out: &mut RowBatch) -> Result<(), CallError> {
        match out {
            RowBatch::Numbers(out) => {
                let number = |(index, value)| self.loaded.number_of(index, value);
                let numbers: Option<Vec<f64>> = row.iter().enumerate().map(number).collect();
                let text = || CallError::Failed("takes numbers, its input example has text".to_owned());
                self.prepare(&numbers.ok_or_else(text)?, out)
            }
            RowBatch::Values(out) => {
                out.extend_from_slice(row);
                Ok(())
            }
        }
    }

    /// Appends a row to those of a model with columns that are no numbers. A row whose values doubles hold came as
    /// numbers.
    fn append_values(&self, features: &Features, out: &mut Vec<Value>) -> Result<(), String> {
        let columns = &self.loaded.columns;
        let width = columns.len();
        let got = features.values.len().max(features.raw.len());
        if got != width {
            return Err(format!("takes {width} features, the row has {got}"));
        }
        if self.missing(features).next().is_some() {
            return Err("cannot fill in missing features".to_owned());
        }
        if features.values.is_empty() {
            let numbers = features.raw.iter().zip(columns);
            out.extend(numbers.map(|(number, column)| Value::of_number(*number, column.kind)));
        } else {
            out.extend(features.values.iter().map(model_value));
        }
        Ok(())
    }

    /// Values as numbers, for a model that takes no others.
    fn numbers(&self, values: &[WireValue]) -> Result<Vec<f64>, String> {
        let number = |(index, wire): (usize, &WireValue)| {
            self.loaded.number_of(index, &model_value(wire)).ok_or_else(|| {
                let name = self.loaded.signature.features.get(index).map_or("", String::as_str);
                format!("takes a number for {name}, the row has text")
            })
        };
        values.iter().enumerate().map(number).collect()
    }

    /// Whether a raw row has no missing values, or only such as this version fills in.
    fn accepts(&self, raw: &[f64]) -> bool {
        self.loaded.accepts_missing
            || !raw.iter().enumerate().any(|(index, value)| value.is_nan() && !self.loaded.may_be_missing(index))
    }

    /// The columns whose values are missing although this version does not fill them in.
    fn missing<'a>(&'a self, features: &'a Features) -> impl Iterator<Item = usize> + 'a {
        let values = features.values.iter().map(WireValue::is_missing);
        let missing = features.raw.iter().map(|value| value.is_nan()).chain(values).enumerate();
        missing.filter(|(index, missing)| *missing && !self.loaded.may_be_missing(*index)).map(|(index, _)| index)
    }

    /// What is wrong with a row that this version cannot answer because values are missing, if it is such a row.
    /// Preprocessing checks this as well, as soon as it knows whether the version fills values in.
    pub(crate) fn missing_values(&self, features: &Features) -> Option<Problem> {
        if features.raw.len() + features.values.len() != self.loaded.signature.width() {
            return None;
        }
        let names = self.missing(features).filter_map(|index| self.loaded.signature.features.get(index));
        let names: Vec<&String> = names.collect();
        (!names.is_empty()).then(|| Problem::missing_features(names, MISSING_NAMED))
    }

    /// Whether this version takes the same features of the same kinds in the same order.
    pub(crate) fn takes_rows_of(&self, other: &Version) -> bool {
        let kinds = |version: &Version| version.loaded.columns.iter().map(|column| column.kind).collect::<Vec<_>>();
        self.loaded.signature.features == other.loaded.signature.features && kinds(self) == kinds(other)
    }
}

fn wire_kind(kind: ColumnKind) -> WireKind {
    match kind {
        ColumnKind::Float => WireKind::Float,
        ColumnKind::Integer => WireKind::Integer,
        ColumnKind::Boolean => WireKind::Boolean,
        ColumnKind::Text => WireKind::Text,
    }
}

//! A loaded version of a model.

use std::sync::Arc;

use crate::{Column, ColumnKind, Expectation, Model, Output, Param, Preprocessing, Signature, TypedRows, Value};

/// A version that is ready to predict.
#[derive(Debug, Clone)]
pub struct LoadedVersion {
    pub name: String,
    pub version: u32,
    /// Identifies the content of the version; see `forebay_registry::Registry` for what it is computed from.
    pub digest: [u8; 32],
    pub model: Arc<dyn Model>,
    /// The preprocessing that is applied to a raw row before `model`.
    pub preprocessing: Option<Arc<Preprocessing>>,
    /// Raw rows, as clients send them (before `preprocessing`), each value of its column's kind.
    pub input_example: Option<Vec<Vec<Value>>>,
    /// The predictions of the model's origin for these rows; see [`LoadedVersion::check_example`].
    pub expectation: Option<Arc<Expectation>>,
    /// Whether a raw row may have missing values: imputed by preprocessing, or handled by the model itself.
    pub accepts_missing: bool,
    /// The columns of a raw row. One that is optional may be missing whatever `accepts_missing` says.
    pub columns: Vec<Column>,
    /// What the model answers when nothing else is asked for, by its files. A tag of the registry comes before it.
    pub output: Output,
    /// The parameters of the signature in `MLmodel`.
    pub params: Vec<Param>,
    /// The names of several outputs in order; empty when the signature has none.
    pub output_names: Arc<[String]>,
    /// The signature of the raw row.
    pub signature: Signature,
}

impl LoadedVersion {
    /// Whether rows go to [`Model::predict_typed`]: the model has columns that are no numbers.
    pub fn is_typed(&self) -> bool {
        !self.model.columns().is_empty()
    }

    /// Whether the value of the column at `index` of a raw row may be missing.
    pub fn may_be_missing(&self, index: usize) -> bool {
        self.accepts_missing || self.columns.get(index).is_some_and(|column| column.optional)
    }

    /// The number of a value in the column at `index`, for a model that takes only numbers. Nothing reads a column of
    /// text then, so that its value is NaN; `None` for text elsewhere.
    pub fn number_of(&self, index: usize, value: &Value) -> Option<f64> {
        let unread = |column: &Column| column.optional && column.kind == ColumnKind::Text;
        match value {
            Value::Text(_) if self.columns.get(index).is_some_and(unread) => Some(f64::NAN),
            value => value.number(),
        }
    }

    /// The rows of the input example; without one a row of zeros.
    pub fn example_rows(&self) -> Vec<Vec<Value>> {
        let rows = self.input_example.clone().filter(|rows| !rows.is_empty());
        rows.unwrap_or_else(|| vec![self.columns.iter().map(|column| Value::zero(column.kind)).collect()])
    }

    /// The rows of the input example as numbers, NaN for a missing value; `None` if there is no example, or text in it.
    pub fn numeric_example(&self) -> Option<Vec<Vec<f64>>> {
        let numbers =
            |row: &Vec<Value>| row.iter().enumerate().map(|(index, value)| self.number_of(index, value)).collect();
        self.input_example.as_ref()?.iter().map(numbers).collect()
    }

    /// Prepares raw rows of typed values and predicts `output` for them, for callers without a preprocessing stage.
    ///
    /// # Errors
    /// As [`Model::predict_output`]; a row that preprocessing rejects is a [`crate::ModelError::Execution`].
    pub fn predict_values(&self, rows: TypedRows<'_>, output: Output) -> Result<crate::Scores, crate::ModelError> {
        if self.is_typed() {
            return self.model.predict_output(rows, output);
        }
        let number = |(at, value): (usize, &Value)| {
            let column = || self.signature.features.get(at % rows.width()).cloned().unwrap_or_default();
            let number = self.number_of(at % rows.width(), value);
            number.ok_or_else(|| crate::ModelError::Text { column: column() })
        };
        let numbers: Vec<f64> = rows.values().iter().enumerate().map(number).collect::<Result<_, _>>()?;
        let rows = crate::Rows::new(rows.width(), &numbers)?;
        match output {
            Output::Predict => self.predict_raw(rows),
            Output::PredictProba if self.model.outputs().predict_proba => self.predict_raw(rows),
            _ => {
                let prepared = self.prepared(rows)?;
                let width = self.model.signature().width();
                let values: Vec<Value> = prepared.into_iter().map(Value::from).collect();
                self.model.predict_output(TypedRows::new(width, &values)?, output)
            }
        }
    }

    /// Prepares raw rows and predicts them, for callers without a preprocessing stage.
    ///
    /// # Errors
    /// As [`Model::predict`]; a row that preprocessing rejects is a [`crate::ModelError::Execution`].
    pub fn predict_raw(&self, rows: crate::Rows<'_>) -> Result<crate::Scores, crate::ModelError> {
        if self.preprocessing.is_none() {
            return self.model.predict(rows);
        }
        let prepared = self.prepared(rows)?;
        self.model.predict(crate::Rows::new(self.model.signature().width(), &prepared)?)
    }

    fn prepared(&self, rows: crate::Rows<'_>) -> Result<Vec<f64>, crate::ModelError> {
        let Some(preprocessing) = &self.preprocessing else { return Ok(rows.values().to_vec()) };
        let mut prepared = Vec::with_capacity(rows.len() * preprocessing.output_width());
        let mut out = Vec::new();
        for row in rows.iter() {
            preprocessing.prepare(row, &mut out).map_err(|e| match e {
                crate::PrepareError::Width { expected, got } => crate::ModelError::Width { expected, got },
                other => crate::ModelError::Execution(other.to_string()),
            })?;
            prepared.extend_from_slice(&out);
        }
        Ok(prepared)
    }
}

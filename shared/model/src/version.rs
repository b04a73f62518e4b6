//! A loaded version of a model.

use std::sync::Arc;

use crate::{
    Column, ColumnKind, Expectation, Model, ModelError, Output, Param, PrepareError, Preprocessing, RowRefusal,
    Signature, TypedRows, Value,
};

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
    /// Why the rows of the input example are not used, if there is one that is not.
    pub unread_example: Option<String>,
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

    /// Whether the version has rows of its own to try it with.
    pub fn has_example(&self) -> bool {
        self.input_example.as_ref().is_some_and(|rows| !rows.is_empty())
    }

    /// The rows of the input example; without one a made-up row.
    pub fn example_rows(&self) -> Vec<Vec<Value>> {
        let rows = self.input_example.clone().filter(|rows| !rows.is_empty());
        rows.unwrap_or_else(|| vec![self.made_up_row()])
    }

    /// A row of values that the model has seen as far as it says which (the first category of an encoder), and zeros
    /// elsewhere. The model may refuse it all the same, which means nothing.
    fn made_up_row(&self) -> Vec<Value> {
        let own = self.model.sample();
        let known = self.preprocessing.as_ref().map_or(own.clone(), |preprocessing| preprocessing.sample(own));
        let value = |(index, column): (usize, &Column)| {
            let known = known.get(index).and_then(Option::as_ref);
            known.and_then(|value| value.in_column(column.kind)).unwrap_or_else(|| Value::zero(column.kind))
        };
        self.columns.iter().enumerate().map(value).collect()
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
    /// As [`Model::predict_output`]; the column of a row that is refused is one of the raw row.
    pub fn predict_values(&self, rows: TypedRows<'_>, output: Output) -> Result<crate::Scores, ModelError> {
        if self.is_typed() {
            return self.model.predict_output(rows, output).map_err(|error| self.raw_error(error));
        }
        let number = |(at, value): (usize, &Value)| {
            let column = || self.signature.features.get(at % rows.width()).cloned().unwrap_or_default();
            let number = self.number_of(at % rows.width(), value);
            number.ok_or_else(|| ModelError::Text { column: column() })
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
                let scores = self.model.predict_output(TypedRows::new(width, &values)?, output);
                scores.map_err(|error| self.raw_error(error))
            }
        }
    }

    /// Prepares raw rows and predicts them, for callers without a preprocessing stage.
    ///
    /// # Errors
    /// As [`Model::predict`]; the column of a row that is refused is one of the raw row.
    pub fn predict_raw(&self, rows: crate::Rows<'_>) -> Result<crate::Scores, ModelError> {
        if self.preprocessing.is_none() {
            return self.model.predict(rows);
        }
        let prepared = self.prepared(rows)?;
        let scores = self.model.predict(crate::Rows::new(self.model.signature().width(), &prepared)?);
        scores.map_err(|error| self.raw_error(error))
    }

    /// Why the model refuses a row, with the name of the column, if `error` of [`LoadedVersion::model`] says that: the
    /// caller's mistake, which says nothing about the version.
    pub fn refusal(&self, error: &ModelError) -> Option<String> {
        match error {
            ModelError::Row(refusal) => {
                let refusal = refusal.clone().traced(|column| self.raw_column(column));
                Some(refusal.describe(&self.signature.features))
            }
            ModelError::Text { .. } => Some(error.to_string()),
            _ => None,
        }
    }

    /// The column of the raw row that a column of the model is the value of.
    fn raw_column(&self, column: usize) -> Option<usize> {
        self.preprocessing.as_ref().map_or(Some(column), |preprocessing| preprocessing.source(column))
    }

    fn raw_error(&self, error: ModelError) -> ModelError {
        error.traced(|column| self.raw_column(column))
    }

    fn prepared(&self, rows: crate::Rows<'_>) -> Result<Vec<f64>, ModelError> {
        let Some(preprocessing) = &self.preprocessing else { return Ok(rows.values().to_vec()) };
        let mut prepared = Vec::with_capacity(rows.len() * preprocessing.output_width());
        let mut out = Vec::new();
        for row in rows.iter() {
            preprocessing.prepare(row, &mut out).map_err(|e| match e {
                PrepareError::Width { expected, got } => ModelError::Width { expected, got },
                PrepareError::Infinite { index } => ModelError::Row(RowRefusal::at(index, "is not finite")),
                PrepareError::Unknown(refusal) => ModelError::Row(refusal),
            })?;
            prepared.extend_from_slice(&out);
        }
        Ok(prepared)
    }
}

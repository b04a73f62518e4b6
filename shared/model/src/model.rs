//! The trait that every loaded model implements, whatever its file format.

use crate::{Column, Output, Outputs, Rows, Scores, Signature, TypedRows, Value};
use forebay_artefact::{RaggedRows, RowRefusal};

/// A model that is ready to predict: a batch of rows in, a batch of scores out. Threads share it behind an `Arc`.
pub trait Model: Send + Sync + std::fmt::Debug {
    /// The names and number of inputs, the task and the labels.
    fn signature(&self) -> &Signature;

    /// Predicts every row, in order. The scores of an empty batch are empty.
    ///
    /// # Errors
    /// [`ModelError::Width`] when the rows are not `signature().width()` wide, [`ModelError::Row`] when the model has no
    /// answer to a row, [`ModelError::Execution`] when the backend fails.
    fn predict(&self, rows: Rows<'_>) -> Result<Scores, ModelError>;

    /// Whether the model has no answer to some rows, as outside of what it has seen or where a function has no value:
    /// their scores are not finite, which does not mean that the model fails.
    fn is_partial(&self) -> bool {
        false
    }

    /// For each column of a row a value that the model has an answer to, if one is known. Where none is, 0 is as good as
    /// any.
    fn sample(&self) -> Vec<Option<Value>> {
        vec![None; self.signature().width()]
    }

    /// The columns of a row. Empty when every column is a number; such a model is called with [`Model::predict`].
    fn columns(&self) -> &[Column] {
        &[]
    }

    /// Predicts typed rows, whose values have the kinds of [`Model::columns`] or are missing. By default they become
    /// numbers, as [`crate::Value::number`] makes them.
    ///
    /// # Errors
    /// As [`Model::predict`]; [`ModelError::Text`] when a model that takes only numbers meets text.
    fn predict_typed(&self, rows: TypedRows<'_>) -> Result<Scores, ModelError> {
        let number = |(at, value): (usize, &Value)| {
            value.number().ok_or_else(|| {
                let names = &self.signature().features;
                ModelError::Text { column: names.get(at % rows.width()).cloned().unwrap_or_default() }
            })
        };
        let values: Vec<f64> = rows.values().iter().enumerate().map(number).collect::<Result<_, _>>()?;
        self.predict(Rows::new(rows.width(), &values)?)
    }

    /// The outputs that the model has besides `predict`.
    fn outputs(&self) -> Outputs {
        Outputs::default()
    }

    /// As [`Model::predict_typed`], for rows of which `output` is wanted. [`Scores::decision`] has the numbers of
    /// `decision_function` and `score_samples`, which only this fills.
    ///
    /// # Errors
    /// As [`Model::predict_typed`]; [`ModelError::Output`] when the model has no such output.
    fn predict_output(&self, rows: TypedRows<'_>, output: Output) -> Result<Scores, ModelError> {
        match output {
            Output::Predict => self.predict_typed(rows),
            Output::PredictProba if self.outputs().predict_proba => self.predict_typed(rows),
            _ => Err(ModelError::Output(output)),
        }
    }

    /// The names of the compiled plan's operations, in order. `forebay models` shows them.
    fn ops(&self) -> Vec<String>;
}

/// Why a batch could not be predicted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    #[error(transparent)]
    Ragged(#[from] RaggedRows),
    #[error("rows have {got} values, the model takes {expected}")]
    Width { expected: usize, got: usize },
    #[error("column {column:?} has text, the model takes a number")]
    Text { column: String },
    #[error("the model has no {0}")]
    Output(Output),
    /// A row has a value for which the model has no answer, by its own rules. In a batch it is one of several rows. The
    /// column is one of the model's.
    #[error(transparent)]
    Row(RowRefusal),
    #[error("the model cannot answer: {0}")]
    Execution(String),
}

impl ModelError {
    /// The error of a model that was given some columns of a row, as one of the whole row.
    #[must_use]
    pub(crate) fn traced(self, source: impl FnOnce(usize) -> Option<usize>) -> Self {
        match self {
            Self::Row(refusal) => Self::Row(refusal.traced(source)),
            other => other,
        }
    }

    /// As [`ModelError::traced`], where the model was given these columns, or all of them.
    #[must_use]
    pub(crate) fn on_columns(self, columns: Option<&[usize]>) -> Self {
        self.traced(|column| columns.map_or(Some(column), |columns| columns.get(column).copied()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers the sum of a row.
    #[derive(Debug)]
    struct Sum(Signature);

    impl Model for Sum {
        fn signature(&self) -> &Signature {
            &self.0
        }

        fn predict(&self, rows: Rows<'_>) -> Result<Scores, ModelError> {
            Ok(Scores::regression(rows.iter().map(|row| row.iter().sum()).collect()))
        }

        fn ops(&self) -> Vec<String> {
            Vec::new()
        }
    }

    #[test]
    fn a_model_of_numbers_takes_typed_rows() {
        let sum = Sum(Signature::unnamed(2));
        let values =
            [Value::Integer(3), Value::Boolean(true), Value::Float(0.5), Value::Missing, 1.0.into(), 2.0.into()];
        let scores = sum.predict_typed(TypedRows::new(2, &values).unwrap()).unwrap();
        assert_eq!((scores.values[0], scores.values[1].is_nan(), scores.values[2]), (4.0, true, 3.0));
        let text = [Value::Float(1.0), Value::Text("x".into())];
        let refused = sum.predict_typed(TypedRows::new(2, &text).unwrap()).unwrap_err();
        assert_eq!(refused.to_string(), "column \"f1\" has text, the model takes a number");
    }

    #[test]
    fn a_model_has_only_the_outputs_it_names() {
        let sum = Sum(Signature::unnamed(1));
        let values = [Value::Float(1.0)];
        let rows = TypedRows::new(1, &values).unwrap();
        assert_eq!(sum.predict_output(rows, Output::Predict).unwrap().values, [1.0]);
        for output in [Output::PredictProba, Output::DecisionFunction, Output::ScoreSamples] {
            assert_eq!(sum.predict_output(rows, output).unwrap_err(), ModelError::Output(output));
        }
    }
}

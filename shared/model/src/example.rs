//! `input_example.json`, the raw rows that MLflow stores beside a model. They warm it up, test it after loading and
//! probe it while its circuit breaker is half open.

mod rows;

use std::fmt;

pub(crate) use rows::{Example, MAX_ROWS, parse, parse_row};

use crate::expectation::{Difference, Expectation, Tolerance};
use crate::{LoadedVersion, ModelError, Output, Scores, TypedRows, Value};

/// The result of a version's check against its input example.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExampleCheck {
    /// The number of predicted rows; 0 if the version has no example.
    pub rows: usize,
    /// The number of rows among them that `example_output.json` itself has.
    pub drawn: usize,
    /// How close the predictions are to the expected ones; `None` if the version has no `example_output.json`.
    pub parity: Option<Parity>,
}

/// Predictions that agree with the expected ones.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parity {
    /// The largest difference between two numbers.
    pub worst: f64,
    /// The tolerance that applied.
    pub tolerance: Tolerance,
}

/// Why a version must not serve requests.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ExampleError {
    #[error("cannot answer its input example: {0}")]
    Model(#[from] ModelError),
    #[error("refuses its input example: {0}")]
    Refused(String),
    #[error("has no input example, and cannot answer a made-up row: {0}")]
    MadeUp(ModelError),
    #[error("the answer to row {row} of its input example is not finite")]
    NotFinite { row: usize },
    #[error("answers row {row} of its input example with {got}, expected {want}")]
    Differs { row: usize, got: String, want: String },
    #[error("answers row {row} of those drawn in example_output.json with {got}, expected {want}")]
    DrawnDiffers { row: usize, got: String, want: String },
}

impl fmt::Display for ExampleCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let drawn = if self.drawn > 0 { format!(" ({} of them drawn)", self.drawn) } else { String::new() };
        match (self.rows, &self.parity) {
            (0, _) => f.write_str("no input example"),
            (rows, None) => write!(f, "{rows} rows answered, nothing to compare with"),
            (rows, Some(Parity { tolerance: Tolerance::Exact, .. })) => {
                write!(f, "{rows} rows{drawn} equal to the bit")
            }
            (rows, Some(Parity { worst, tolerance: Tolerance::Within(most) })) => {
                write!(f, "{rows} rows{drawn} equal, at most {worst:.1e} apart (admitted: {most:e} x (1 + value))")
            }
        }
    }
}

impl LoadedVersion {
    /// Predicts the rows of the version's input example. Every number must be finite, and if the folder has an
    /// `example_output.json`, the predictions must match it within the tolerance of the model's kind. Without an example
    /// a row is made up, which the model may refuse.
    ///
    /// # Errors
    /// The first row for which that does not hold.
    pub fn check_example(&self) -> Result<ExampleCheck, ExampleError> {
        let rows = self.input_example.as_deref().unwrap_or_default();
        if rows.is_empty() {
            self.try_made_up_row()?;
            return Ok(ExampleCheck { rows: 0, drawn: 0, parity: None });
        }
        let values = rows.concat();
        let scores = self.answer(&values)?;
        if scores.len() != rows.len() {
            return Err(ModelError::Execution(format!("{} answers for {} rows", scores.len(), rows.len())).into());
        }
        let finite = |row: &usize| {
            scores.row(*row).iter().all(|value| value.is_finite())
                && scores.probabilities(*row).iter().all(|value| value.is_finite())
        };
        if let Some(row) = (0..rows.len()).find(|row| !finite(row)) {
            return Err(ExampleError::NotFinite { row });
        }
        let parity = match &self.expectation {
            Some(expected) if !expected.is_empty() => {
                let worst = expected.compare(&scores);
                let worst = worst.map_err(|Difference { row, got, want }| ExampleError::Differs { row, got, want })?;
                Some(Parity { worst, tolerance: expected.tolerance() })
            }
            _ => None,
        };
        Ok(ExampleCheck { rows: rows.len(), drawn: 0, parity })
    }

    /// Predicts a row that is made up. That the model refuses it, or gives a number that is not finite, says nothing.
    fn try_made_up_row(&self) -> Result<(), ExampleError> {
        let row = self.example_rows().concat();
        let row = TypedRows::new(self.signature.width(), &row).map_err(ModelError::from)?;
        match self.predict_values(row, Output::Predict) {
            Ok(_) | Err(ModelError::Row(_) | ModelError::Text { .. }) => Ok(()),
            Err(error) => Err(ExampleError::MadeUp(error)),
        }
    }

    /// The answers to rows of the version's own files.
    fn answer(&self, values: &[Value]) -> Result<Scores, ExampleError> {
        let rows = TypedRows::new(self.signature.width(), values).map_err(ModelError::from)?;
        self.predict_values(rows, Output::Predict).map_err(|error| match error {
            ModelError::Row(refusal) => ExampleError::Refused(refusal.describe(&self.signature.features)),
            other => other.into(),
        })
    }

    /// As [`LoadedVersion::check_example`], and predicts the rows that `example_output.json` itself has.
    ///
    /// # Errors
    /// The first row that differs.
    pub fn check_answers(&self) -> Result<ExampleCheck, ExampleError> {
        let mut check = self.check_example()?;
        let Some((rows, expected)) = self.expectation.as_deref().and_then(Expectation::drawn) else { return Ok(check) };
        let values = rows.concat();
        let scores = self.answer(&values)?;
        let worst = expected.compare(&scores);
        let worst = worst.map_err(|Difference { row, got, want }| ExampleError::DrawnDiffers { row, got, want })?;
        let before = check.parity.map_or(0.0, |parity| parity.worst);
        check.rows += rows.len();
        check.drawn = rows.len();
        check.parity = Some(Parity { worst: worst.max(before), tolerance: expected.tolerance() });
        Ok(check)
    }
}

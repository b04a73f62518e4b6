//! `input_example.json`, the raw rows that MLflow stores beside a model. They warm it up, test it after loading and
//! probe it while its circuit breaker is half open.

use std::fmt;

use serde_json::Value;

use crate::expectation::{Difference, Tolerance};
use crate::{Fault, LoadedVersion, ModelError, Rows, Signature};

/// The most rows of an example that are kept. More would warm up nothing new.
pub(crate) const MAX_ROWS: usize = 64;
/// The size in bytes of the largest example file that is parsed.
const MAX_BYTES: usize = 4 << 20;

/// Reads rows in any layout that MLflow writes: a bare array of rows, `{"columns": .., "data": ..}` (split
/// orientation), or `{"inputs": ..}`. `null` becomes NaN.
///
/// # Errors
/// A [`Fault`] when the layout is another one, a value is not a number or a row has another width than the signature.
pub(crate) fn parse(bytes: &[u8], signature: &Signature) -> Result<Vec<Vec<f64>>, Fault> {
    if bytes.len() > MAX_BYTES {
        return Err(Fault::new("", format!("larger than {MAX_BYTES} bytes")));
    }
    let json: Value = serde_json::from_slice(bytes).map_err(|e| Fault::new("", e.to_string()))?;
    let rows = match &json {
        Value::Array(rows) => rows,
        Value::Object(o) => {
            let rows = ["data", "inputs", "instances"].iter().find_map(|k| o.get(*k)?.as_array());
            rows.ok_or_else(|| Fault::new("", "has no rows under data, inputs or instances"))?
        }
        _ => return Err(Fault::new("", "is neither an array of rows nor an object with rows")),
    };
    rows.iter().take(MAX_ROWS).enumerate().map(|(i, row)| parse_row(i, row, signature)).collect()
}

fn parse_row(i: usize, row: &Value, signature: &Signature) -> Result<Vec<f64>, Fault> {
    let fault = |reason: String| Fault::new(format!("row {i}"), reason);
    let number = |v: &Value| match v {
        Value::Null => Ok(f64::NAN),
        v => v.as_f64().ok_or_else(|| fault(format!("{v} is not a number"))),
    };
    let values: Vec<f64> = match row {
        Value::Array(values) => values.iter().map(number).collect::<Result<_, _>>()?,
        // records orientation
        Value::Object(fields) => {
            let named = |name: &String| fields.get(name).ok_or_else(|| fault(format!("lacks {name}")));
            signature.features.iter().map(|name| number(named(name)?)).collect::<Result<_, _>>()?
        }
        _ => return Err(fault("is not a row".to_owned())),
    };
    if values.len() != signature.width() {
        return Err(fault(format!("has {} values, the model takes {}", values.len(), signature.width())));
    }
    Ok(values)
}

/// The result of a version's check against its input example.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ExampleCheck {
    /// The number of predicted rows; 0 if the version has no example.
    pub rows: usize,
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
    #[error("the answer to row {row} of its input example is not finite")]
    NotFinite { row: usize },
    #[error("answers row {row} of its input example with {got}, expected {want}")]
    Differs { row: usize, got: String, want: String },
}

impl fmt::Display for ExampleCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.rows, &self.parity) {
            (0, _) => f.write_str("no input example"),
            (rows, None) => write!(f, "{rows} rows answered, nothing to compare with"),
            (rows, Some(Parity { tolerance: Tolerance::Exact, .. })) => write!(f, "{rows} rows equal to the bit"),
            (rows, Some(Parity { worst, tolerance: Tolerance::Within(most) })) => {
                write!(f, "{rows} rows equal, at most {worst:.1e} apart (admitted: {most:e} x (1 + value))")
            }
        }
    }
}

impl LoadedVersion {
    /// Predicts the rows of the version's input example. Every number must be finite, and if the folder has an
    /// `example_output.json`, the predictions must match it within the tolerance of the model's kind.
    ///
    /// # Errors
    /// The first row for which that does not hold.
    pub fn check_example(&self) -> Result<ExampleCheck, ExampleError> {
        let rows = self.input_example.as_deref().unwrap_or_default();
        if rows.is_empty() {
            return Ok(ExampleCheck { rows: 0, parity: None });
        }
        let scores = self.predict_raw(Rows::new(self.signature.width(), &rows.concat())?)?;
        if scores.len() != rows.len() {
            return Err(ModelError::Execution(format!("{} answers for {} rows", scores.len(), rows.len())).into());
        }
        let finite = |row: &usize| {
            scores.values[*row].is_finite() && scores.probabilities(*row).iter().all(|value| value.is_finite())
        };
        if let Some(row) = (0..rows.len()).find(|row| !finite(row)) {
            return Err(ExampleError::NotFinite { row });
        }
        let parity = match &self.expectation {
            None => None,
            Some(expected) => {
                let worst = expected.compare(&scores);
                let worst = worst.map_err(|Difference { row, got, want }| ExampleError::Differs { row, got, want })?;
                Some(Parity { worst, tolerance: expected.tolerance() })
            }
        };
        Ok(ExampleCheck { rows: rows.len(), parity })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_of_mlflow() {
        let s = Signature { features: vec!["a".into(), "b".into()], ..Signature::unnamed(2) };
        for text in [
            r#"[[1, 2.5]]"#,
            r#"{"columns": ["a", "b"], "data": [[1, 2.5]]}"#,
            r#"{"inputs": [[1, 2.5]]}"#,
            r#"[{"b": 2.5, "a": 1}]"#,
        ] {
            assert_eq!(parse(text.as_bytes(), &s).unwrap(), [[1.0, 2.5]], "{text}");
        }
        assert!(parse(b"[[1, null]]", &s).unwrap()[0][1].is_nan());
        assert_eq!(parse(b"[[1]]", &s).unwrap_err().to_string(), "row 0: has 1 values, the model takes 2");
        assert!(parse(b"[[1, \"x\"]]", &s).unwrap_err().reason.contains("is not a number"));
        assert!(parse(b"{\"dat", &s).is_err());
    }
}

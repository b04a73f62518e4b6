//! `input_example.json`, the raw rows that MLflow stores beside a model. They warm it up, test it after loading and
//! probe it while its circuit breaker is half open.

use std::borrow::Cow;
use std::fmt;

use serde_json::Value as Json;

use crate::expectation::{Difference, Expectation, Tolerance};
use crate::{Column, ColumnKind, Fault, LoadedVersion, ModelError, Output, TypedRows, Value};

/// The most rows of an example that are kept. More would warm up nothing new.
pub(crate) const MAX_ROWS: usize = 64;
/// The size in bytes of the largest example file that is parsed.
const MAX_BYTES: usize = 4 << 20;

/// Reads rows in any layout that MLflow writes: a bare array of rows, `{"columns": .., "data": ..}` (split
/// orientation), or `{"inputs": ..}`. `null` is a missing value.
///
/// # Errors
/// A [`Fault`] when the layout is another one, a value is not of its column's kind or a row has another width than
/// `columns`.
pub(crate) fn parse(bytes: &[u8], columns: &[Column]) -> Result<Vec<Vec<Value>>, Fault> {
    if bytes.len() > MAX_BYTES {
        return Err(Fault::new("", format!("larger than {MAX_BYTES} bytes")));
    }
    let json: Json = serde_json::from_slice(&nan_as_null(bytes)).map_err(|e| Fault::new("", e.to_string()))?;
    let rows = match &json {
        Json::Array(rows) => rows,
        Json::Object(o) => {
            let rows = ["data", "inputs", "instances", "dataframe_records"].iter().find_map(|k| o.get(*k)?.as_array());
            rows.ok_or_else(|| Fault::new("", "has no rows under data, inputs or instances"))?
        }
        _ => return Err(Fault::new("", "is neither an array of rows nor an object with rows")),
    };
    rows.iter().take(MAX_ROWS).enumerate().map(|(i, row)| parse_row(i, row, columns)).collect()
}

/// A missing number as JSON knows it: MLflow writes `NaN` where the frame has text beside it.
fn nan_as_null(bytes: &[u8]) -> Cow<'_, [u8]> {
    const NAN: &[u8] = b"NaN";
    if !bytes.windows(NAN.len()).any(|window| window == NAN) {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len() + 64);
    let (mut rest, mut in_text) = (bytes, false);
    while let Some((first, after)) = rest.split_first() {
        match (first, in_text) {
            (b'\\', true) => {
                let (escape, after) = rest.split_at(rest.len().min(2));
                out.extend_from_slice(escape);
                rest = after;
                continue;
            }
            (b'N', false) if rest.starts_with(NAN) => {
                out.extend_from_slice(b"null");
                rest = &rest[NAN.len()..];
                continue;
            }
            (b'"', _) => in_text = !in_text,
            _ => {}
        }
        out.push(*first);
        rest = after;
    }
    Cow::Owned(out)
}

pub(crate) fn parse_row(i: usize, row: &Json, columns: &[Column]) -> Result<Vec<Value>, Fault> {
    let fault = |reason: String| Fault::new(format!("row {i}"), reason);
    let width = |got: usize| match got == columns.len() {
        true => Ok(()),
        false => Err(fault(format!("has {got} values, the model takes {}", columns.len()))),
    };
    let typed = |(column, json): (&Column, &Json)| value(column.kind, json).map_err(fault);
    match row {
        Json::Array(values) => {
            width(values.len())?;
            columns.iter().zip(values).map(typed).collect()
        }
        // records orientation; an optional column may be left out
        Json::Object(fields) => {
            let named = |column: &Column| match fields.get(&column.name) {
                Some(json) => value(column.kind, json).map_err(fault),
                None if column.optional => Ok(Value::Missing),
                None => Err(fault(format!("lacks {}", column.name))),
            };
            columns.iter().map(named).collect()
        }
        // the only column of a text vectoriser
        Json::String(_) => {
            width(1)?;
            columns.iter().map(|column| typed((column, row))).collect()
        }
        _ => Err(fault("is not a row".to_owned())),
    }
}

/// A value that the model's own library wrote for a column of this kind.
fn value(kind: ColumnKind, json: &Json) -> Result<Value, String> {
    let value = match (kind, json) {
        (_, Json::Null) => Some(Value::Missing),
        (ColumnKind::Text, Json::String(text)) => Some(Value::Text(text.as_str().into())),
        (ColumnKind::Text, Json::Number(number)) if number.is_i64() => Some(Value::Text(number.to_string().into())),
        (ColumnKind::Boolean, Json::Bool(value)) => Some(Value::Boolean(*value)),
        (ColumnKind::Boolean, Json::Number(number)) => match number.as_f64() {
            Some(0.0) => Some(Value::Boolean(false)),
            Some(1.0) => Some(Value::Boolean(true)),
            _ => None,
        },
        (ColumnKind::Integer, Json::Number(number)) => {
            let whole = || number.as_f64().filter(|value| value.fract() == 0.0 && value.abs() < 9.2e18);
            number.as_i64().or_else(|| whole().map(|value| value as i64)).map(Value::Integer)
        }
        (ColumnKind::Float, Json::Number(number)) => number.as_f64().map(Value::Float),
        (ColumnKind::Float | ColumnKind::Integer, Json::Bool(value)) => Some(Value::Float(f64::from(u8::from(*value)))),
        _ => None,
    };
    value.ok_or_else(|| {
        let kind = match kind {
            ColumnKind::Float => "a number",
            ColumnKind::Integer => "an integer",
            ColumnKind::Boolean => "true or false",
            ColumnKind::Text => "text",
        };
        format!("{json} is not {kind}")
    })
}

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
    /// `example_output.json`, the predictions must match it within the tolerance of the model's kind.
    ///
    /// # Errors
    /// The first row for which that does not hold.
    pub fn check_example(&self) -> Result<ExampleCheck, ExampleError> {
        let rows = self.input_example.as_deref().unwrap_or_default();
        if rows.is_empty() {
            return Ok(ExampleCheck { rows: 0, drawn: 0, parity: None });
        }
        let values = rows.concat();
        let scores = self.predict_values(
            TypedRows::new(self.signature.width(), &values).map_err(ModelError::from)?,
            Output::Predict,
        )?;
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

    /// As [`LoadedVersion::check_example`], and predicts the rows that `example_output.json` itself has.
    ///
    /// # Errors
    /// The first row that differs.
    pub fn check_answers(&self) -> Result<ExampleCheck, ExampleError> {
        let mut check = self.check_example()?;
        let Some((rows, expected)) = self.expectation.as_deref().and_then(Expectation::drawn) else { return Ok(check) };
        let values = rows.concat();
        let typed = TypedRows::new(self.signature.width(), &values).map_err(ModelError::from)?;
        let scores = self.predict_values(typed, Output::Predict)?;
        let worst = expected.compare(&scores);
        let worst = worst.map_err(|Difference { row, got, want }| ExampleError::DrawnDiffers { row, got, want })?;
        let before = check.parity.map_or(0.0, |parity| parity.worst);
        check.rows += rows.len();
        check.drawn = rows.len();
        check.parity = Some(Parity { worst: worst.max(before), tolerance: expected.tolerance() });
        Ok(check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(kinds: &[ColumnKind]) -> Vec<Column> {
        let column = |(index, kind): (usize, &ColumnKind)| {
            let name = ["a", "b", "c", "d"][index].to_owned();
            Column { name, kind: *kind, optional: index == 3 }
        };
        kinds.iter().enumerate().map(column).collect()
    }

    #[test]
    fn every_layout_of_mlflow() {
        let s = columns(&[ColumnKind::Float; 2]);
        for text in [
            r#"[[1, 2.5]]"#,
            r#"{"columns": ["a", "b"], "data": [[1, 2.5]]}"#,
            r#"{"inputs": [[1, 2.5]]}"#,
            r#"[{"b": 2.5, "a": 1}]"#,
        ] {
            assert_eq!(parse(text.as_bytes(), &s).unwrap(), [[Value::Float(1.0), Value::Float(2.5)]], "{text}");
        }
        for text in ["[[1, null]]", "[[1, NaN]]", r#"{"columns": ["a \"NaN", "b"], "data": [[1.0,NaN]]}"#] {
            assert!(parse(text.as_bytes(), &s).unwrap()[0][1].is_missing(), "{text}");
        }
        let texts = columns(&[ColumnKind::Text; 2]);
        let kept = parse(br#"[["NaN", "\"NaN\\"], ["x", NaN]]"#, &texts).unwrap();
        assert_eq!(kept[0], [Value::Text("NaN".into()), Value::Text("\"NaN\\".into())]);
        assert!(kept[1][1].is_missing() && parse(b"[[1, Nan]]", &s).is_err());
        assert_eq!(parse(b"[[1]]", &s).unwrap_err().to_string(), "row 0: has 1 values, the model takes 2");
        assert!(parse(b"[[1, \"x\"]]", &s).unwrap_err().reason.contains("is not a number"));
        assert!(parse(b"{\"dat", &s).is_err());
    }

    #[test]
    fn values_have_the_kinds_of_their_columns() {
        let s = columns(&[ColumnKind::Integer, ColumnKind::Text, ColumnKind::Boolean, ColumnKind::Float]);
        let text = r#"{"columns": ["a", "b", "c", "d"], "data": [[9007199254740993, "x", true, 1]]}"#;
        let values = [Value::Integer(9_007_199_254_740_993), Value::Text("x".into()), Value::Boolean(true), 1.0.into()];
        assert_eq!(parse(text.as_bytes(), &s).unwrap(), [values]);
        let absent = parse(br#"[{"a": 1.0, "b": 7, "c": 0}]"#, &s).unwrap();
        assert_eq!(absent, [[Value::Integer(1), Value::Text("7".into()), Value::Boolean(false), Value::Missing]]);
        for (text, what) in [("[[1.5, \"x\", true, 1]]", "1.5 is not an integer"), ("[[1, 1.5, true, 1]]", "not text")]
        {
            assert!(parse(text.as_bytes(), &s).unwrap_err().reason.contains(what), "{text}");
        }
        let one = columns(&[ColumnKind::Text]);
        assert_eq!(parse(br#"["some words"]"#, &one).unwrap(), [[Value::Text("some words".into())]]);
    }
}

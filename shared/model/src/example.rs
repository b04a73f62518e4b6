//! `input_example.json`, the raw rows MLflow keeps beside a model: warm-up, smoke test, half-open probe.

use serde_json::Value;

use crate::{Fault, Signature};

/// Rows kept of an example; more warm up nothing new.
const MAX_ROWS: usize = 64;
/// Largest example file parsed.
const MAX_BYTES: usize = 4 << 20;

/// Reads rows in any layout MLflow writes: a bare array of rows, `{"columns": .., "data": ..}` (split
/// orientation), or `{"inputs": ..}`. `null` becomes NaN.
///
/// # Errors
/// A [`Fault`] for other layouts, values that are no numbers, rows of another width than the signature's.
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
        _ => return Err(Fault::new("", "is neither an array of rows nor an object with them")),
    };
    rows.iter().take(MAX_ROWS).enumerate().map(|(i, row)| parse_row(i, row, signature)).collect()
}

fn parse_row(i: usize, row: &Value, signature: &Signature) -> Result<Vec<f64>, Fault> {
    let fault = |reason: String| Fault::new(format!("row {i}"), reason);
    let number = |v: &Value| match v {
        Value::Null => Ok(f64::NAN),
        v => v.as_f64().ok_or_else(|| fault(format!("{v} is no number"))),
    };
    let values: Vec<f64> = match row {
        Value::Array(values) => values.iter().map(number).collect::<Result<_, _>>()?,
        // records orientation
        Value::Object(fields) => {
            let named = |name: &String| fields.get(name).ok_or_else(|| fault(format!("lacks {name}")));
            signature.features.iter().map(|name| number(named(name)?)).collect::<Result<_, _>>()?
        }
        _ => return Err(fault("is no row".to_owned())),
    };
    if values.len() != signature.width() {
        return Err(fault(format!("has {} values, the model takes {}", values.len(), signature.width())));
    }
    Ok(values)
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
        assert!(parse(b"[[1, \"x\"]]", &s).unwrap_err().reason.contains("no number"));
        assert!(parse(b"{\"dat", &s).is_err());
    }
}

//! A single row, as on a line of a file: the fields of a request, or only the features.

use std::collections::BTreeMap;

use forebay_contract::{Problem, Value};
use serde::de::DeserializeSeed;

use super::error_context::ErrorContext;
use super::features::FeaturesSeed;
use super::{RowLimit, parse_record, without_mark};
use crate::request::{FeatureRows, Row};

/// A row of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    pub row: Row,
    /// What the answer holds; empty if the line does not say.
    pub output: String,
    /// Parameters of the model's signature.
    pub params: BTreeMap<String, Value>,
}

/// Reads a request, `{"features": ...}`, of which the fields `output` and `params` are kept, or only the row: an array of
/// values or an object of named values. `null` is a missing value.
///
/// # Errors
/// `invalid_request` or `invalid_features`, with the path of the error; more than one row is `payload_too_large`.
pub fn parse_line(bytes: &[u8]) -> Result<Line, Problem> {
    const FIELD: &[u8] = b"\"features\"";
    let bytes = without_mark(bytes);
    let wrapped = bytes.trim_ascii_start().first() == Some(&b'{') && bytes.windows(FIELD.len()).any(|it| it == FIELD);
    let (features, output, params) = if wrapped {
        let request = parse_record(bytes).map_err(|rejected| rejected.problem)?;
        (request.features, request.output, request.params)
    } else {
        let mut context = ErrorContext::new(RowLimit::ONE);
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let read = FeaturesSeed { context: &mut context }.deserialize(&mut json);
        let read = read.and_then(|it| json.end().map(|()| it));
        (read.map_err(|error| context.into_rejected(bytes, &error).problem)?, String::new(), BTreeMap::new())
    };
    let row = match features {
        FeatureRows::One(row) => row,
        FeatureRows::Many(rows) => rows.into_iter().next().unwrap_or_default(),
    };
    Ok(Line { row, output, params })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_row() {
        let row = |text: &str| parse_line(text.as_bytes()).map(|line| (line.row.values, line.row.names));
        let names = || vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(row("[1, 2.5]").unwrap(), (vec![1.0, 2.5], vec![]));
        assert_eq!(row(r#" {"features": [1, 2.5], "request_id": 7}"#).unwrap(), (vec![1.0, 2.5], vec![]));
        assert_eq!(row(r#"{"a": 1, "b": 2.5}"#).unwrap(), (vec![1.0, 2.5], names()));
        assert_eq!(row(r#"{"features": {"a": 1, "b": 2.5}}"#).unwrap(), (vec![1.0, 2.5], names()));
        assert!(row("[null]").unwrap().0[0].is_nan());
    }

    #[test]
    fn a_request_keeps_the_output_and_the_parameters() {
        let text = br#"{"output": "predict_proba", "features": [1], "params": {"k": 1}, "model": "m"}"#;
        let Line { row, output, params } = parse_line(text).unwrap();
        assert_eq!((row.values, output.as_str(), &params["k"]), (vec![1.0], "predict_proba", &Value::integer(1)));
        let bare = parse_line(br#"{"output": 1, "a": 2}"#).unwrap();
        assert_eq!((bare.row.len(), bare.output.as_str()), (2, ""), "columns may have these names");
        assert!(parse_line(br#"{"features": [1], "output": 7}"#).unwrap_err().message.starts_with("output: expected"));
    }

    #[test]
    fn errors_name_the_value() {
        let message = |text: &str| parse_line(text.as_bytes()).unwrap_err().message;
        assert!(
            message("[1, []]").starts_with("features[1]: expected a number, a string, a boolean or null, got an array"),
            "{}",
            message("[1, []]")
        );
        assert!(message("[1, NaN]").contains("not a finite number"));
        assert!(message("{\"a\": {}}").starts_with("features.a: "));
        assert!(message("[[1], [2]]").contains("more than one row"));
        assert!(message("hello").starts_with("not JSON"));
        assert!(message("[1] [2]").starts_with("not JSON"));
        assert!(message("7").starts_with("features: expected"));
    }
}

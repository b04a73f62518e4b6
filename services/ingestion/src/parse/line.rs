//! A single row, as on a line of a file: the fields of a request, or only the features.

use forebay_contract::Problem;
use serde::de::DeserializeSeed;

use super::error_context::ErrorContext;
use super::features::FeaturesSeed;
use super::{parse_record, without_mark};
use crate::request::{FeatureRows, Row};

/// Reads `{"features": ...}`, ignoring other fields, or only the row: an array of values or an object of named values.
/// `null` is a missing value.
///
/// # Errors
/// `invalid_request` or `invalid_features`, with the path of the error; more than one row is `payload_too_large`.
pub fn parse_line(bytes: &[u8]) -> Result<Row, Problem> {
    const FIELD: &[u8] = b"\"features\"";
    let bytes = without_mark(bytes);
    let wrapped = bytes.trim_ascii_start().first() == Some(&b'{') && bytes.windows(FIELD.len()).any(|it| it == FIELD);
    let features = if wrapped {
        parse_record(bytes).map_err(|rejected| rejected.problem)?.features
    } else {
        let mut context = ErrorContext::new(1);
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let read = FeaturesSeed { context: &mut context }.deserialize(&mut json);
        read.and_then(|it| json.end().map(|()| it)).map_err(|error| context.into_rejected(bytes, &error).problem)?
    };
    Ok(match features {
        FeatureRows::One(row) => row,
        FeatureRows::Many(rows) => rows.into_iter().next().unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_row() {
        let row = |text: &str| parse_line(text.as_bytes()).map(|row| (row.values, row.names));
        let names = || vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(row("[1, 2.5]").unwrap(), (vec![1.0, 2.5], vec![]));
        assert_eq!(row(r#" {"features": [1, 2.5], "request_id": 7}"#).unwrap(), (vec![1.0, 2.5], vec![]));
        assert_eq!(row(r#"{"a": 1, "b": 2.5}"#).unwrap(), (vec![1.0, 2.5], names()));
        assert_eq!(row(r#"{"features": {"a": 1, "b": 2.5}}"#).unwrap(), (vec![1.0, 2.5], names()));
        assert!(row("[null]").unwrap().0[0].is_nan());
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

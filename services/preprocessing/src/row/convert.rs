//! The table of conversions: what a value of JSON, or a cell of a CSV file, becomes in a column. docs/typed-rows.md shows
//! it.

use forebay_contract::Value;
use forebay_contract::wire::value::Kind;
use forebay_registry::ColumnKind;

use super::quoted;

/// Why a value does not fit its column: what was expected, and what it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}, got {got}")]
pub struct ConversionError {
    expected: &'static str,
    got: String,
}

/// Converts a value of a row to the kind of its column. A missing value stays one; whether the column may have one is
/// not decided here.
///
/// # Errors
/// When the value is of another kind and is not the same in the column's.
pub fn convert(kind: ColumnKind, value: Value) -> Result<Value, ConversionError> {
    let Some(given) = value.kind else { return Ok(Value::MISSING) };
    let converted = match (kind, &given) {
        (ColumnKind::Float, Kind::Float(value)) => Some(Value::float(*value)),
        (ColumnKind::Float, Kind::Integer(value)) => Some(Value::float(*value as f64)),
        (ColumnKind::Float, Kind::Boolean(value)) => Some(Value::float(f64::from(u8::from(*value)))),
        (ColumnKind::Integer, Kind::Float(value)) => whole(*value).map(Value::integer),
        (ColumnKind::Integer, Kind::Integer(value)) => Some(Value::integer(*value)),
        (ColumnKind::Integer, Kind::Boolean(value)) => Some(Value::integer(i64::from(*value))),
        (ColumnKind::Boolean, Kind::Float(value)) => whole(*value).and_then(truth),
        (ColumnKind::Boolean, Kind::Integer(value)) => truth(*value),
        (ColumnKind::Boolean, Kind::Boolean(value)) => Some(Value::boolean(*value)),
        (ColumnKind::Text, Kind::Integer(value)) => Some(Value::text(value.to_string())),
        (ColumnKind::Text, Kind::Text(_)) => return Ok(Value { kind: Some(given) }),
        (ColumnKind::Text, Kind::Float(_) | Kind::Boolean(_)) | (_, Kind::Text(_)) => None,
    };
    converted.ok_or_else(|| ConversionError { expected: expected(kind), got: shown(&given) })
}

/// Converts a cell of a CSV file, where everything is text. An empty cell is a missing value.
///
/// # Errors
/// When the text is no value of the column's kind.
pub fn convert_cell(kind: ColumnKind, cell: &str) -> Result<Value, ConversionError> {
    let error = |got: String| ConversionError { expected: expected(kind), got };
    if kind == ColumnKind::Text {
        return Ok(if cell.is_empty() { Value::MISSING } else { Value::text(cell) });
    }
    let cell = cell.trim_ascii();
    let value = match cell {
        "" => return Ok(Value::MISSING),
        "true" | "True" | "TRUE" => Value::boolean(true),
        "false" | "False" | "FALSE" => Value::boolean(false),
        number => match (number.parse(), number.parse::<f64>()) {
            (Ok(integer), _) => Value::integer(integer),
            (_, Ok(float)) if float.is_finite() => Value::float(float),
            _ => return Err(error(quoted(number))),
        },
    };
    convert(kind, value)
}

fn expected(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Float => "a number",
        ColumnKind::Integer => "an integer of 64 bits",
        ColumnKind::Boolean => "true or false",
        ColumnKind::Text => "text or an integer",
    }
}

fn shown(value: &Kind) -> String {
    match value {
        Kind::Float(value) => format!("the number {value:?}"),
        Kind::Integer(value) => format!("the number {value}"),
        Kind::Boolean(value) => value.to_string(),
        Kind::Text(text) => format!("the text {}", quoted(text)),
    }
}

/// The integer that a float is; `None` when it has a fraction or is beyond 64 bits.
fn whole(value: f64) -> Option<i64> {
    // 2^63 is a float, the largest integer below it is not
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value);
    (fits && value.fract() == 0.0).then_some(value as i64)
}

fn truth(value: i64) -> Option<Value> {
    matches!(value, 0 | 1).then(|| Value::boolean(value == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [ColumnKind; 4] = [ColumnKind::Float, ColumnKind::Integer, ColumnKind::Boolean, ColumnKind::Text];

    #[test]
    fn every_kind_of_value_in_every_kind_of_column() {
        let (float, integer, truth) = (Value::float, Value::integer, Value::boolean);
        let text = |text: &str| Value::text(text);
        let table: [(Value, [Option<Value>; 4]); 8] = [
            (Value::MISSING, [Some(Value::MISSING), Some(Value::MISSING), Some(Value::MISSING), Some(Value::MISSING)]),
            (truth(true), [Some(float(1.0)), Some(integer(1)), Some(truth(true)), None]),
            (integer(1), [Some(float(1.0)), Some(integer(1)), Some(truth(true)), Some(text("1"))]),
            (integer(7), [Some(float(7.0)), Some(integer(7)), None, Some(text("7"))]),
            (
                integer(i64::MAX),
                [Some(float(i64::MAX as f64)), Some(integer(i64::MAX)), None, Some(text("9223372036854775807"))],
            ),
            (float(1.0), [Some(float(1.0)), Some(integer(1)), Some(truth(true)), None]),
            (float(1.5), [Some(float(1.5)), None, None, None]),
            (text("1"), [None, None, None, Some(text("1"))]),
        ];
        for (value, expected) in table {
            for (kind, expected) in KINDS.into_iter().zip(expected) {
                let got = convert(kind, value.clone());
                assert_eq!(got.clone().ok(), expected, "{value:?} in {kind:?}: {got:?}");
            }
        }
    }

    #[test]
    fn integers_beyond_64_bits_are_refused() {
        for value in [9_223_372_036_854_775_808.0, -9_223_372_036_854_777_856.0, f64::INFINITY] {
            assert!(convert(ColumnKind::Integer, Value::float(value)).is_err(), "{value}");
        }
        let least = convert(ColumnKind::Integer, Value::float(-9_223_372_036_854_775_808.0));
        assert_eq!(least, Ok(Value::integer(i64::MIN)));
    }

    #[test]
    fn errors_say_what_was_expected_and_what_came() {
        let message = |kind, value| convert(kind, value).unwrap_err().to_string();
        assert_eq!(
            message(ColumnKind::Integer, Value::float(1.5)),
            "expected an integer of 64 bits, got the number 1.5"
        );
        assert_eq!(message(ColumnKind::Text, Value::float(1.0)), "expected text or an integer, got the number 1.0");
        assert_eq!(message(ColumnKind::Float, Value::text("x")), "expected a number, got the text \"x\"");
        assert!(message(ColumnKind::Float, Value::text("y".repeat(1000))).len() < 120);
    }

    #[test]
    fn cells_of_a_file() {
        let cell = |kind, text: &str| convert_cell(kind, text).ok();
        assert_eq!(cell(ColumnKind::Integer, " 9007199254740993 "), Some(Value::integer(9_007_199_254_740_993)));
        assert_eq!(cell(ColumnKind::Integer, "2.0"), Some(Value::integer(2)));
        assert_eq!((cell(ColumnKind::Integer, "2.5"), cell(ColumnKind::Float, "x")), (None, None));
        assert_eq!(cell(ColumnKind::Boolean, "True"), Some(Value::boolean(true)));
        assert_eq!(cell(ColumnKind::Boolean, "0"), Some(Value::boolean(false)));
        assert_eq!(cell(ColumnKind::Text, " a "), Some(Value::text(" a ")), "text is taken as it is");
        assert_eq!(cell(ColumnKind::Text, "1.0"), Some(Value::text("1.0")));
        for kind in KINDS {
            assert_eq!(cell(kind, ""), Some(Value::MISSING));
        }
        for odd in ["nan", "inf", "1e999"] {
            assert_eq!(cell(ColumnKind::Float, odd), None, "{odd}");
        }
    }
}

//! The rows of `input_example.json` in any layout that MLflow writes and that has one row after another.

use std::borrow::Cow;

use serde_json::Value as Json;

use crate::{Column, ColumnKind, Fault, Value};

/// The most rows of an example that are kept. More would warm up nothing new.
pub(crate) const MAX_ROWS: usize = 64;
/// How much of a file is read for them, in bytes.
const MAX_BYTES: usize = 4 << 20;
/// Where the rows of an object are.
const ROW_KEYS: [&str; 4] = ["data", "inputs", "instances", "dataframe_records"];

/// An example file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Example {
    /// Its first rows; `whole` if it has no others that were left out unread.
    Rows { rows: Vec<Vec<Value>>, whole: bool },
    /// Nothing here says what its rows are: why not.
    Unread(String),
}

/// Reads rows in any layout that MLflow writes: a bare array of rows, `{"columns": .., "data": ..}` (split
/// orientation), `{"inputs": ..}`, or an object that has a value, or a list of them, for each column. `null` is a missing
/// value. An example in another layout is not used, which is no fault of the model's.
///
/// # Errors
/// A [`Fault`] when a value is not of its column's kind or a row has another width than `columns`.
pub(crate) fn parse(bytes: &[u8], columns: &[Column]) -> Result<Example, Fault> {
    let unread = |reason: &str| Ok(Example::Unread(reason.to_owned()));
    let (bytes, whole) = match bytes.len() > MAX_BYTES {
        false => (Cow::Borrowed(bytes), true),
        true => match first_rows(&bytes[..MAX_BYTES]) {
            Some(part) => (Cow::Owned(part), false),
            None => return unread("is larger than what is read of it, and no row ends there"),
        },
    };
    let Some(bytes) = as_json(&bytes) else { return unread("has infinite numbers") };
    let json: Json = match serde_json::from_slice(&bytes) {
        Ok(json) => json,
        Err(error) => return Ok(Example::Unread(format!("is not JSON: {error}"))),
    };
    let by_column;
    let rows = match &json {
        Json::Array(rows) => rows,
        Json::Object(object) if object.contains_key("indptr") => return unread("is a sparse matrix"),
        Json::Object(object) => match ROW_KEYS.iter().find_map(|key| object.get(*key)?.as_array()) {
            Some(rows) => rows,
            None => match rows_by_column(object, columns) {
                Some(rows) => {
                    by_column = rows;
                    &by_column
                }
                None => return unread("has no rows under data, inputs or instances, and not a value for each column"),
            },
        },
        _ => return unread("is neither an array of rows nor an object with rows"),
    };
    let order = order(&json, columns);
    let read = |(i, row): (usize, &Json)| match (&order, row) {
        (Some(order), Json::Array(values)) if values.len() == order.width => {
            let values = order.places.iter().map(|place| place.map_or(Json::Null, |place| values[place].clone()));
            parse_row(i, &Json::Array(values.collect()), columns)
        }
        _ => parse_row(i, row, columns),
    };
    let rows = rows.iter().take(MAX_ROWS).enumerate().map(read).collect::<Result<_, _>>()?;
    Ok(Example::Rows { rows, whole })
}

/// Where the columns of a model are among those that an example names.
struct Order {
    width: usize,
    places: Vec<Option<usize>>,
}

/// The order of a split orientation, if it names all columns that the model needs, in whatever order.
fn order(json: &Json, columns: &[Column]) -> Option<Order> {
    let names: Vec<&str> = json.get("columns")?.as_array()?.iter().map(Json::as_str).collect::<Option<_>>()?;
    let place = |column: &Column| names.iter().position(|name| *name == column.name);
    let places: Vec<Option<usize>> = columns.iter().map(place).collect();
    let known = columns.iter().zip(&places).all(|(column, place)| place.is_some() || column.optional);
    (known && places.iter().any(Option::is_some)).then_some(Order { width: names.len(), places })
}

/// One row of scalars, or rows of which the object has the values of each column in a list.
fn rows_by_column(object: &serde_json::Map<String, Json>, columns: &[Column]) -> Option<Vec<Json>> {
    let needed = |column: &&Column| !column.optional || object.contains_key(&column.name);
    let mut given = columns.iter().filter(needed).map(|column| object.get(&column.name));
    if object.is_empty() || given.clone().any(|value| value.is_none_or(Json::is_object)) {
        return None;
    }
    if given.clone().flatten().all(|value| !value.is_array()) {
        return Some(vec![Json::Object(object.clone())]);
    }
    let rows = given.next()??.as_array()?.len().min(MAX_ROWS);
    let row = |index: usize| {
        let of = |(name, values): (&String, &Json)| Some((name.clone(), values.as_array()?.get(index)?.clone()));
        object.iter().map(of).collect::<Option<serde_json::Map<_, _>>>().map(Json::Object)
    };
    (0..rows).map(row).collect()
}

/// The whole rows at the beginning of a file, as a document of their own; `None` when there is none. Brackets, quotes and
/// keys are all that is looked at.
fn first_rows(bytes: &[u8]) -> Option<Vec<u8>> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, None, false);
    let (mut key, mut rows_at, mut count, mut end) = (&bytes[..0], None, 0, None);
    for (at, byte) in bytes.iter().enumerate() {
        if let Some(start) = quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    quoted = None;
                    key = if depth == 1 && rows_at.is_none() { &bytes[start + 1..at] } else { key };
                }
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => quoted = Some(at),
            b'[' | b'{' => {
                depth += 1;
                let row_list = depth == 1 || (depth == 2 && ROW_KEYS.iter().any(|name| name.as_bytes() == key));
                if *byte == b'[' && row_list && rows_at.is_none() {
                    rows_at = Some(depth);
                }
            }
            b']' | b'}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        let row_ends = matches!(byte, b']' | b'}') && rows_at == Some(depth);
        if row_ends {
            (count, end) = (count + 1, Some(at + 1));
            if count == MAX_ROWS {
                break;
            }
        }
    }
    let closing: &[u8] = if rows_at? == 1 { b"]" } else { b"]}" };
    Some([&bytes[..end?], closing].concat())
}

/// The document as JSON has it; `None` if it has infinite numbers, which JSON does not have. A missing number is `NaN`
/// where MLflow wrote a frame that has text beside it.
fn as_json(bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    const NAN: &[u8] = b"NaN";
    const INFINITY: &[u8] = b"Infinity";
    let has = |word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
    if !has(NAN) && !has(INFINITY) {
        return Some(Cow::Borrowed(bytes));
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
            (b'I', false) if rest.starts_with(INFINITY) => return None,
            (b'"', _) => in_text = !in_text,
            _ => {}
        }
        out.push(*first);
        rest = after;
    }
    Some(Cow::Owned(out))
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
        let parse = |bytes: &[u8], columns: &[Column]| match parse(bytes, columns)? {
            Example::Rows { rows, whole: true } => Ok(rows),
            other => Err(Fault::new("", format!("{other:?}"))),
        };
        for text in [
            r#"[[1, 2.5]]"#,
            r#"{"columns": ["a", "b"], "data": [[1, 2.5]]}"#,
            r#"{"inputs": [[1, 2.5]]}"#,
            r#"[{"b": 2.5, "a": 1}]"#,
            r#"{"columns": ["b", "c", "a"], "data": [[2.5, 7, 1]]}"#,
            r#"{"b": 2.5, "a": 1}"#,
            r#"{"b": [2.5], "a": [1]}"#,
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
        let parse = |bytes: &[u8], columns: &[Column]| match parse(bytes, columns)? {
            Example::Rows { rows, .. } => Ok(rows),
            Example::Unread(reason) => Err(Fault::new("", reason)),
        };
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

    #[test]
    fn what_is_no_list_of_rows_is_not_used() {
        let s = columns(&[ColumnKind::Float; 2]);
        for (text, why) in [
            (r#"{"data": [1.0], "indices": [0], "indptr": [0, 1], "shape": [1, 2]}"#, "sparse"),
            ("[[1, Infinity]]", "infinite"),
            (r#"{"a": 1}"#, "no rows"),
            (r#"{"a": {"x": 1}, "b": 2}"#, "no rows"),
            ("{\"dat", "not JSON"),
            ("7", "neither"),
        ] {
            let Example::Unread(reason) = parse(text.as_bytes(), &s).unwrap() else { panic!("{text}") };
            assert!(reason.contains(why), "{text}: {reason}");
        }
    }

    #[test]
    fn the_first_rows_of_a_large_file_are_read() {
        let s = columns(&[ColumnKind::Float; 2]);
        let rows = vec!["[1.0, 2.5]"; 500_000].join(", ");
        let names: Vec<String> = (0..2).map(|i| format!("\"[{{{i}\\\"\"")).collect();
        for text in [
            format!("[{rows}]"),
            format!(r#"{{"inputs": [{rows}]}}"#),
            format!(r#"{{"columns": [{}], "data": [{rows}]}}"#, names.join(",")),
            format!("[{}]", rows.replace("[1.0, 2.5]", r#"{"a": 1.0, "b": 2.5}"#)),
        ] {
            assert!(text.len() > MAX_BYTES);
            let Example::Rows { rows, whole } = parse(text.as_bytes(), &s).unwrap() else { panic!() };
            assert_eq!((rows.len(), &rows[63], whole), (64, &vec![Value::Float(1.0), Value::Float(2.5)], false));
        }
        let wide = format!("[[{}]]", vec!["1.0"; 2_000_000].join(", "));
        assert!(matches!(parse(wide.as_bytes(), &s).unwrap(), Example::Unread(_)));
        let other = format!(r#"{{"rows": [{rows}]}}"#);
        assert!(matches!(parse(other.as_bytes(), &s).unwrap(), Example::Unread(_)));
    }
}

//! Values of settings: parsed from TOML, read from the text of variables and flags, and converted for the store.

use config::ValueKind;
use toml::Value;
use toml::de::{DeTable, DeValue};

use super::schema::KeyPath;

/// A value with its path and its line (from 1). An empty table is a leaf.
pub(super) struct Leaf {
    pub(super) key: KeyPath,
    pub(super) value: Value,
    pub(super) line: usize,
}

/// Parses TOML into a list of leaves.
///
/// # Errors
/// The parser's message, which names line and column.
pub(super) fn flatten(text: &str) -> Result<Vec<Leaf>, String> {
    let document = DeTable::parse(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    let mut leaves = Vec::new();
    collect(text, document.get_ref(), &mut Vec::new(), &mut leaves);
    Ok(leaves)
}

fn collect(text: &str, table: &DeTable<'_>, path: &mut Vec<String>, leaves: &mut Vec<Leaf>) {
    for (name, value) in table {
        path.push(name.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => collect(text, inner, path, leaves),
            leaf => {
                let line = 1 + text.bytes().take(name.span().start).filter(|&byte| byte == b'\n').count();
                leaves.push(Leaf { key: KeyPath(path.clone()), value: owned(leaf), line });
            }
        }
        path.pop();
    }
}

fn owned(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        // A number out of the range of i64 stays text, which the type check then reports.
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::String(number.to_string()), Value::Integer),
        DeValue::Float(number) => {
            number.as_str().parse().map_or_else(|_| Value::String(number.to_string()), Value::Float)
        }
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Datetime(when) => Value::Datetime(*when),
        DeValue::Array(items) => Value::Array(items.iter().map(|item| owned(item.get_ref())).collect()),
        DeValue::Table(table) => {
            Value::Table(table.iter().map(|(name, item)| (name.get_ref().to_string(), owned(item.get_ref()))).collect())
        }
    }
}

/// Checks that a value from a file has the type of its default. A whole number may stand for a number.
///
/// # Errors
/// The name of the expected type.
pub(super) fn fit(value: Value, default: &Value) -> Result<Value, String> {
    match (value, default) {
        (Value::Integer(number), Value::Float(_)) => Ok(Value::Float(number as f64)),
        (value, default) if value.same_type(default) => Ok(value),
        (value, default) => Err(format!("is {}, expected {}", named(&value), named(default))),
    }
}

/// Reads the text of a variable or flag as the type of its default.
///
/// # Errors
/// The expected type.
pub(super) fn typed(text: &str, default: &Value) -> Result<Value, String> {
    let wrong = || format!("is text that cannot be read as {}", named(default));
    match default {
        Value::Integer(_) => text.trim().replace('_', "").parse().map(Value::Integer).map_err(|_| wrong()),
        Value::Float(_) => text.trim().parse().map(Value::Float).map_err(|_| wrong()),
        Value::Boolean(_) => match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(Value::Boolean(true)),
            "false" | "0" => Ok(Value::Boolean(false)),
            _ => Err(wrong()),
        },
        Value::Array(_) if text.trim_start().starts_with('[') => literal(text).ok_or_else(wrong),
        Value::Array(items) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            let read =
                |part: &str| items.first().map_or_else(|| Ok(Value::String(part.into())), |item| typed(part, item));
            parts.map(read).collect::<Result<Vec<_>, _>>().map(Value::Array)
        }
        Value::Table(_) => literal(text).filter(Value::is_table).ok_or_else(wrong),
        Value::String(_) | Value::Datetime(_) => Ok(Value::String(text.to_owned())),
    }
}

/// Reads the text of an entry of a free-form table: as a TOML value if it is one, else as a string.
pub(super) fn guessed(text: &str) -> Value {
    literal(text).unwrap_or_else(|| Value::String(text.to_owned()))
}

fn literal(text: &str) -> Option<Value> {
    let mut table: toml::Table = toml::from_str(&format!("value = {text}")).ok()?;
    if table.len() == 1 { table.remove("value") } else { None }
}

/// The value for the store: each part of it carries `origin`. The store has no dates, so a date becomes its text.
pub(super) fn stored(value: &Value, origin: &String) -> config::Value {
    let kind = match value {
        Value::String(text) => ValueKind::String(text.clone()),
        Value::Integer(number) => ValueKind::I64(*number),
        Value::Float(number) => ValueKind::Float(*number),
        Value::Boolean(flag) => ValueKind::Boolean(*flag),
        Value::Datetime(when) => ValueKind::String(when.to_string()),
        Value::Array(items) => ValueKind::Array(items.iter().map(|item| stored(item, origin)).collect()),
        Value::Table(table) => {
            ValueKind::Table(table.iter().map(|(name, item)| (name.clone(), stored(item, origin))).collect())
        }
    };
    config::Value::new(Some(origin), kind)
}

/// The value out of the store, as [`stored`] put it there.
pub(super) fn restored(value: &config::Value) -> Value {
    match &value.kind {
        ValueKind::String(text) => Value::String(text.clone()),
        ValueKind::I64(number) => Value::Integer(*number),
        ValueKind::Float(number) => Value::Float(*number),
        ValueKind::Boolean(flag) => Value::Boolean(*flag),
        ValueKind::Array(items) => Value::Array(items.iter().map(restored).collect()),
        ValueKind::Table(table) => {
            Value::Table(table.iter().map(|(name, item)| (name.clone(), restored(item))).collect())
        }
        other => Value::String(other.to_string()), // none of ours
    }
}

fn named(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a string",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

//! TOML text into flat entries, and environment text into typed values.

use std::fmt;

use toml::Value;
use toml::de::{DeTable, DeValue};

/// Path of a setting: section, key, and further names inside tables.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(pub(super) Vec<String>);

impl Key {
    /// A path out of its parts.
    pub(super) fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        Self(parts.into_iter().map(str::to_owned).collect())
    }

    /// Name of the property of the Kafka client that this sets in `kafka.options`, however it was written.
    pub(super) fn property(&self) -> Option<String> {
        match self.0.as_slice() {
            [section, table, name @ ..] if section == "kafka" && table == "options" && !name.is_empty() => {
                Some(name.join(".").replace('_', "."))
            }
            _ => None,
        }
    }

    /// The section, which is the first part.
    pub(super) fn section(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            let dot = if index == 0 { "" } else { "." };
            if part.contains('.') { write!(f, "{dot}\"{part}\"")? } else { write!(f, "{dot}{part}")? }
        }
        Ok(())
    }
}

/// A value with its path and its line (from 1). An empty table is an entry of its own.
pub(super) struct Flat {
    pub(super) key: Key,
    pub(super) value: Value,
    pub(super) line: usize,
}

/// Parses TOML into its leaves.
///
/// # Errors
/// The parser's message, which names line and column.
pub(super) fn flatten(text: &str) -> Result<Vec<Flat>, String> {
    let document = DeTable::parse(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    let mut leaves = Vec::new();
    collect(text, document.get_ref(), &mut Vec::new(), &mut leaves);
    Ok(leaves)
}

fn collect(text: &str, table: &DeTable<'_>, path: &mut Vec<String>, leaves: &mut Vec<Flat>) {
    for (name, value) in table {
        path.push(name.get_ref().to_string());
        match value.get_ref() {
            DeValue::Table(inner) if !inner.is_empty() => collect(text, inner, path, leaves),
            leaf => {
                let line = 1 + text.bytes().take(name.span().start).filter(|&byte| byte == b'\n').count();
                leaves.push(Flat { key: Key(path.clone()), value: owned(leaf), line });
            }
        }
        path.pop();
    }
}

fn owned(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        // Out of range for i64 stays text, so that the type check reports it instead of a wrapped number.
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

/// Fits a value from a file to the type of its default.
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

/// Reads text from the environment or a flag as the type of its default.
///
/// # Errors
/// What the text is and what was expected.
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

/// Reads text for a free-form key: a TOML literal where it is one, else a string.
pub(super) fn guessed(text: &str) -> Value {
    literal(text).unwrap_or_else(|| Value::String(text.to_owned()))
}

fn literal(text: &str) -> Option<Value> {
    let mut table: toml::Table = toml::from_str(&format!("value = {text}")).ok()?;
    if table.len() == 1 { table.remove("value") } else { None }
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

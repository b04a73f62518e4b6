//! The columns of a model's input and the typed values of a row.

use std::sync::Arc;

use serde::{Serialize, Serializer};

/// What the values of a column are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ColumnKind {
    /// An f64.
    Float,
    /// An i64, exact.
    Integer,
    Boolean,
    /// Text, also the text of a category.
    Text,
}

/// One column of a model's input, in the order of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: ColumnKind,
    /// In a signature, whether a row may leave it out; its value is then missing. In a model's own columns, whether the
    /// model takes a missing value there: a step fills it in, a tree has a branch for it, or the model drops the column.
    pub optional: bool,
}

/// One value of a row, converted to its column's kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Missing,
    Float(f64),
    Integer(i64),
    Boolean(bool),
    Text(Arc<str>),
}

impl Value {
    /// The value as a number: a missing value is NaN and a boolean 0 or 1. `None` for text.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Missing => Some(f64::NAN),
            Self::Float(value) => Some(*value),
            Self::Integer(value) => Some(*value as f64),
            Self::Boolean(value) => Some(f64::from(u8::from(*value))),
            Self::Text(_) => None,
        }
    }

    /// The value of a column of `kind` that came as a number, NaN if it is missing. Text does not come as a number.
    pub fn of_number(number: f64, kind: ColumnKind) -> Self {
        match kind {
            _ if number.is_nan() => Self::Missing,
            ColumnKind::Integer => Self::Integer(number as i64),
            ColumnKind::Boolean => Self::Boolean(number != 0.0),
            ColumnKind::Float | ColumnKind::Text => Self::Float(number),
        }
    }

    /// The zero of a kind: a value for a row that only has to have the right form.
    pub fn zero(kind: ColumnKind) -> Self {
        match kind {
            ColumnKind::Float => Self::Float(0.0),
            ColumnKind::Integer => Self::Integer(0),
            ColumnKind::Boolean => Self::Boolean(false),
            ColumnKind::Text => Self::Text("".into()),
        }
    }

    /// Whether the value is missing; a NaN is.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::Missing => true,
            Self::Float(value) => value.is_nan(),
            _ => false,
        }
    }
}

/// Writes the value as JSON has it; a missing value, and a number that JSON cannot have, is `null`.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Missing => serializer.serialize_unit(),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::Boolean(value) => serializer.serialize_bool(*value),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl From<f64> for Value {
    /// NaN is a missing value.
    fn from(value: f64) -> Self {
        if value.is_nan() { Self::Missing } else { Self::Float(value) }
    }
}

/// Borrowed typed rows, row-major, `len x width`.
#[derive(Debug, Clone, Copy)]
pub struct TypedRows<'a> {
    width: usize,
    values: &'a [Value],
}

/// Values that do not make whole rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{values} values do not make whole rows of width {width}")]
pub struct RaggedRows {
    pub width: usize,
    pub values: usize,
}

impl<'a> TypedRows<'a> {
    /// Views `values` as rows of `width` values.
    ///
    /// # Errors
    /// [`RaggedRows`] when `width` is 0 or the values do not make whole rows.
    pub fn new(width: usize, values: &'a [Value]) -> Result<Self, RaggedRows> {
        if width == 0 || !values.len().is_multiple_of(width) {
            return Err(RaggedRows { width, values: values.len() });
        }
        Ok(Self { width, values })
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The number of values in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Row `i`, `width` values.
    ///
    /// # Panics
    /// When `i >= len()`.
    pub fn row(&self, i: usize) -> &'a [Value] {
        &self.values[i * self.width..(i + 1) * self.width]
    }

    /// An iterator over the rows.
    pub fn iter(&self) -> std::slice::ChunksExact<'a, Value> {
        self.values.chunks_exact(self.width)
    }

    /// The values of all rows, row-major.
    pub fn values(&self) -> &'a [Value] {
        self.values
    }
}

impl<'a> IntoIterator for &TypedRows<'a> {
    type Item = &'a [Value];
    type IntoIter = std::slice::ChunksExact<'a, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_values() {
        assert_eq!(Value::Boolean(true).number(), Some(1.0));
        assert_eq!(Value::Integer(-3).number(), Some(-3.0));
        assert!(Value::Missing.number().is_some_and(f64::is_nan));
        assert_eq!(Value::Text("1".into()).number(), None, "text is no number, whatever it says");
        assert_eq!(Value::of_number(2.0, ColumnKind::Integer), Value::Integer(2));
        assert_eq!(Value::of_number(1.0, ColumnKind::Boolean), Value::Boolean(true));
        assert_eq!(Value::of_number(f64::NAN, ColumnKind::Text), Value::Missing);
        assert!(Value::Float(f64::NAN).is_missing() && Value::Missing.is_missing());
        assert!(!Value::Text("".into()).is_missing(), "empty text is a value");
    }

    #[test]
    fn rows_of_values() {
        let values = [Value::Integer(1), Value::Text("a".into()), Value::Missing, Value::Text("b".into())];
        let rows = TypedRows::new(2, &values).unwrap();
        assert_eq!((rows.len(), rows.width(), rows.is_empty()), (2, 2, false));
        assert_eq!(rows.row(1), &values[2..]);
        assert_eq!(rows.iter().count(), 2);
        assert_eq!(TypedRows::new(3, &values).unwrap_err(), RaggedRows { width: 3, values: 4 });
        assert!(TypedRows::new(0, &[]).is_err());
        assert!(TypedRows::new(2, &[]).unwrap().is_empty());
    }
}

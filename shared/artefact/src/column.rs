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

    /// The value in a column of `kind`, if it is one that such a column has and not missing.
    pub fn in_column(&self, kind: ColumnKind) -> Option<Self> {
        match (kind, self) {
            (_, Self::Missing) => None,
            (ColumnKind::Text, Self::Text(_)) | (ColumnKind::Boolean, Self::Boolean(_)) => Some(self.clone()),
            (ColumnKind::Text | ColumnKind::Boolean, _) => None,
            (ColumnKind::Integer, Self::Integer(_)) => Some(self.clone()),
            (ColumnKind::Integer, value) => {
                let whole = value.number().filter(|v| v.fract() == 0.0 && v.abs() < 9.2e18);
                whole.map(|v| Self::Integer(v as i64))
            }
            (ColumnKind::Float, value) => value.number().map(Self::Float),
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
        assert_eq!(Value::Float(2.0).in_column(ColumnKind::Integer), Some(Value::Integer(2)));
        assert_eq!(Value::Integer(2).in_column(ColumnKind::Float), Some(Value::Float(2.0)));
        for (value, kind) in [(2.5.into(), ColumnKind::Integer), (Value::Text("x".into()), ColumnKind::Float)] {
            assert_eq!(value.in_column(kind), None);
        }
        assert!(Value::Float(f64::NAN).is_missing() && Value::Missing.is_missing());
        assert!(!Value::Text("".into()).is_missing(), "empty text is a value");
    }
}

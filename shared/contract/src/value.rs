//! Values of rows that have more than numbers, and labels, as they cross a service boundary.

use std::fmt;

use crate::wire::value::Kind;
use crate::wire::{Label, LabelKind, Score, Value};

/// The largest integer below which a double holds every integer.
const EXACT: u64 = 1 << 53;

impl Value {
    /// The value of a JSON `null`.
    pub const MISSING: Self = Self { kind: None };

    /// A number; NaN is a missing value.
    pub fn float(value: f64) -> Self {
        Self { kind: (!value.is_nan()).then_some(Kind::Float(value)) }
    }

    /// Text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { kind: Some(Kind::Text(text.into())) }
    }

    /// An integer.
    pub fn integer(value: i64) -> Self {
        Self { kind: Some(Kind::Integer(value)) }
    }

    /// A boolean.
    pub fn boolean(value: bool) -> Self {
        Self { kind: Some(Kind::Boolean(value)) }
    }

    /// Whether there is no value.
    pub fn is_missing(&self) -> bool {
        self.kind.is_none()
    }

    /// The double that holds the value exactly: a missing value is NaN and a boolean 0 or 1. `None` for text and for an
    /// integer that needs more than 53 bits.
    pub fn exact_double(&self) -> Option<f64> {
        match &self.kind {
            None => Some(f64::NAN),
            Some(Kind::Float(value)) => Some(*value),
            Some(Kind::Integer(value)) => (value.unsigned_abs() <= EXACT).then_some(*value as f64),
            Some(Kind::Boolean(value)) => Some(f64::from(u8::from(*value))),
            Some(Kind::Text(_)) => None,
        }
    }

    /// Approximate encoded size, in bytes.
    pub fn weight(&self) -> usize {
        match &self.kind {
            Some(Kind::Text(text)) => text.len() + 8,
            _ => 12,
        }
    }
}

/// The label of a class as an answer writes it.
#[derive(Clone, Debug, PartialEq)]
pub enum ClassLabel<'a> {
    /// `1`
    Integer(i64),
    /// `true`
    Boolean(bool),
    /// `0.5`
    Float(f64),
    /// `"churn"`
    Text(&'a str),
}

impl<'a> ClassLabel<'a> {
    /// Reads a label from its text and kind. Text that is not what its kind says stays text.
    fn read(text: &'a str, kind: LabelKind) -> Self {
        let read = match kind {
            LabelKind::Text => None,
            LabelKind::Integer => text.parse().ok().map(Self::Integer),
            LabelKind::Boolean => text.parse().ok().map(Self::Boolean),
            LabelKind::Float => text.parse().ok().filter(|value: &f64| value.is_finite()).map(Self::Float),
        };
        read.unwrap_or(Self::Text(text))
    }

    /// The kind that is sent beside the label's text.
    pub fn kind(&self) -> LabelKind {
        match self {
            Self::Integer(_) => LabelKind::Integer,
            Self::Boolean(_) => LabelKind::Boolean,
            Self::Float(_) => LabelKind::Float,
            Self::Text(_) => LabelKind::Text,
        }
    }

    /// The label as a message.
    pub fn to_wire(&self) -> Label {
        Label { text: self.to_string(), kind: self.kind().into() }
    }
}

impl fmt::Display for ClassLabel<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => write!(f, "{value}"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Label {
    /// The label with its type.
    pub fn typed(&self) -> ClassLabel<'_> {
        ClassLabel::read(&self.text, self.kind())
    }
}

impl Score {
    /// The label with its type, if the answer is one.
    pub fn class_label(&self) -> Option<ClassLabel<'_>> {
        self.label.as_deref().map(|text| ClassLabel::read(text, self.label_kind()))
    }

    /// Whether the score can be an answer: it has a label, or a finite number, and every other number is finite.
    pub fn is_usable(&self) -> bool {
        let several = !self.numbers.is_empty() || !self.labels.is_empty();
        (several || self.label.is_some() || self.value.is_finite()) && self.numbers.iter().all(|it| it.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_double_holds_what_is_no_text_and_no_long_integer() {
        assert_eq!(Value::boolean(true).exact_double(), Some(1.0));
        assert_eq!(Value::integer(-(1 << 53)).exact_double(), Some(-9_007_199_254_740_992.0));
        assert_eq!(Value::integer((1 << 53) + 1).exact_double(), None);
        assert_eq!(Value::text("1").exact_double(), None);
        assert!(Value::MISSING.exact_double().is_some_and(f64::is_nan));
        assert!(Value::float(f64::NAN).is_missing());
    }

    #[test]
    fn labels_keep_their_type_on_the_way() {
        for label in [ClassLabel::Integer(-1), ClassLabel::Boolean(true), ClassLabel::Float(0.5), ClassLabel::Text("1")]
        {
            let wire = label.to_wire();
            assert_eq!(wire.typed(), label);
        }
        let odd = Label { text: "many".into(), kind: LabelKind::Integer.into() };
        assert_eq!(odd.typed(), ClassLabel::Text("many"));
        let older = Score { label: Some("1".into()), ..Score::default() };
        assert_eq!(older.class_label(), Some(ClassLabel::Text("1")), "a build without kinds sent text");
    }
}

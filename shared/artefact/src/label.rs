//! The labels of a classifier's classes, which keep the type they have in the model.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// The label of a class. As JSON it is a value of its own type: `1`, `true`, `0.5`, `"churn"`.
#[derive(Debug, Clone, PartialEq)]
pub enum Label {
    Integer(i64),
    Boolean(bool),
    Float(f64),
    Text(Arc<str>),
}

impl Label {
    /// The labels that a file can write only as text mean: integers or numbers when each of them is one in the spelling
    /// that Rust gives it, else the texts themselves.
    pub fn of_texts(texts: &[String]) -> Vec<Self> {
        let integers = texts.iter().map(|text| text.parse().ok().filter(|value: &i64| value.to_string() == *text));
        if let Some(integers) = integers.map(|value| value.map(Self::Integer)).collect() {
            return integers;
        }
        let spelt = |text: &String| {
            let value: f64 = text.parse().ok()?;
            (value.is_finite() && format!("{value:?}") == *text).then_some(Self::Float(value))
        };
        let floats: Option<Vec<Self>> = texts.iter().map(spelt).collect();
        floats.unwrap_or_else(|| texts.iter().map(|text| Self::from(text.as_str())).collect())
    }

    /// The label as a number. A boolean is 0 or 1; `None` for text.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Integer(value) => Some(*value as f64),
            Self::Boolean(value) => Some(f64::from(u8::from(*value))),
            Self::Float(value) => Some(*value),
            Self::Text(_) => None,
        }
    }

    /// The text of a label that is text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => write!(f, "{value}"),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Serialize for Label {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::Boolean(value) => serializer.serialize_bool(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl From<&str> for Label {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for Label {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_keeps_its_type_as_json() {
        let labels = [Label::Integer(1), Label::Boolean(true), Label::Float(1.0), Label::from("churn"), "1".into()];
        assert_eq!(serde_json::to_string(&labels).unwrap(), r#"[1,true,1.0,"churn","1"]"#);
        assert_eq!(labels.each_ref().map(Label::number), [Some(1.0), Some(1.0), Some(1.0), None, None]);
        assert_eq!(labels.map(|label| label.to_string()).join(" "), "1 true 1.0 churn 1");
    }

    #[test]
    fn texts_of_a_file_are_numbers_only_when_all_are() {
        let read = |texts: &[&str]| Label::of_texts(&texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
        assert_eq!(read(&["0", "-12"]), [Label::Integer(0), Label::Integer(-12)]);
        assert_eq!(read(&["0.0", "1.5"]), [Label::Float(0.0), Label::Float(1.5)]);
        for texts in [["0", "a"], ["007", "8"], ["+1", "1"], ["nan", "inf"], ["", "1"], ["9223372036854775808", "1"]] {
            assert_eq!(read(&texts), texts.map(Label::from), "{texts:?}");
        }
    }
}

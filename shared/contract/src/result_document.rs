//! The JSON document of a result, on the result topic, in RabbitMQ replies and in HTTP answers to a single row.
//!
//! The order of the fields is part of the contract. The first four are those of the service that Forebay replaced, in its
//! order; clients that know only these keep working.

use std::borrow::Cow;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::{Answer, ClassLabel, Label, Problem, Score};

/// A row's prediction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ResultDocument<'a> {
    /// The id that the client chose.
    pub request_id: Option<&'a str>,
    /// Number or class label.
    pub prediction: PredictedValue<'a>,
    /// The version that answered.
    pub model_version: &'a str,
    /// When the request arrived.
    pub timestamp: Timestamp<'a>,
    /// Position of the row, on topics where the rows of one request are separate documents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u32>,
    /// The model that answered.
    pub model: &'a str,
    /// Whether the prediction came from the cache.
    pub cached: bool,
    /// Time from the request's arrival until its answer was given: on topics and over RabbitMQ by the stage that gave it,
    /// over HTTP to the caller.
    pub latency_ms: LatencyMs,
    /// Present if the request was traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<&'a str>,
    /// The version that was requested, if another one answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback_from: Option<&'a str>,
    /// Probability of each class, for a classification.
    #[serde(skip_serializing_if = "<[f64]>::is_empty")]
    pub probabilities: &'a [f64],
    /// The classes in the order of the probabilities, when the request asked for these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub classes: Vec<ClassLabel<'a>>,
}

/// A row without a prediction, on the result topic and in RabbitMQ replies. HTTP error answers have no latency and name the
/// trace last, so they are a type of the HTTP server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FailureDocument<'a> {
    /// The id that the client chose, if it could be read.
    pub request_id: Option<&'a str>,
    /// Always `null`.
    pub prediction: (),
    /// Always `null`.
    pub model_version: (),
    /// When the request arrived.
    pub timestamp: Timestamp<'a>,
    /// Position of the row, if the request had many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u32>,
    /// Time from the request's arrival until the error was given.
    pub latency_ms: LatencyMs,
    /// The trace with the spans and log lines of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<&'a str>,
    /// Why there is no prediction.
    pub error: ErrorDetail<'a>,
}

/// What `prediction` holds.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum PredictedValue<'a> {
    /// A number, written as the shortest text that reads back to the same bits.
    Number(f64),
    /// The label of a class.
    Label(ClassLabel<'a>),
    /// Several numbers or labels, in the order of the model's outputs.
    List(Vec<PredictedValue<'a>>),
    /// The same, when the signature names the outputs.
    Named(#[serde(serialize_with = "named")] Vec<(&'a str, PredictedValue<'a>)>),
}

/// When a request arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Timestamp<'a> {
    /// Unix milliseconds, a number.
    Milliseconds(i64),
    /// ISO 8601, a string.
    Iso8601(&'a str),
}

/// Microseconds, written as a number of milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatencyMs {
    /// As few digits as needed: `1.25`.
    Shortest(u64),
    /// Always three decimals: `1.250`.
    ThreeDecimals(u64),
}

/// Why there is no prediction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorDetail<'a> {
    /// One of the documented codes.
    pub code: Cow<'a, str>,
    /// What is wrong and where.
    pub message: Cow<'a, str>,
}

impl<'a> From<&'a Score> for PredictedValue<'a> {
    fn from(score: &'a Score) -> Self {
        let one = score.numbers.is_empty() && score.labels.is_empty();
        if one {
            return score.class_label().map_or(Self::Number(score.value), Self::Label);
        }
        let values: Vec<Self> = if score.labels.is_empty() {
            score.numbers.iter().copied().map(Self::Number).collect()
        } else {
            score.labels.iter().map(|label| Self::Label(label.typed())).collect()
        };
        // the probability of an only class is a list, as that of several is
        if let ([Self::Number(number)], []) = (values.as_slice(), score.classes.as_slice()) {
            return Self::Number(*number);
        }
        if score.names.len() == values.len() {
            return Self::Named(score.names.iter().map(String::as_str).zip(values).collect());
        }
        Self::List(values)
    }
}

/// Writes pairs as an object, in their order.
fn named<S: Serializer>(pairs: &[(&str, PredictedValue<'_>)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
}

impl Serialize for ClassLabel<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::Boolean(value) => serializer.serialize_bool(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl Answer {
    /// The version that was requested, if another one answered.
    pub fn fallback_from(&self) -> Option<&str> {
        Some(self.fallback_from.as_str()).filter(|version| !version.is_empty())
    }
}

impl Score {
    /// The labels of the classes in the order of the probabilities, when the request asked for these.
    pub fn class_labels(&self) -> Vec<ClassLabel<'_>> {
        self.classes.iter().map(Label::typed).collect()
    }
}

impl From<Problem> for ErrorDetail<'static> {
    fn from(problem: Problem) -> Self {
        Self { code: problem.code.as_str().into(), message: problem.message.into() }
    }
}

/// Below this, every number of microseconds is the shortest text of its f64.
const MOST_EXACT_US: u64 = 1_000_000_000_000_000;

impl Serialize for LatencyMs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Shortest(us) => serializer.serialize_f64(us as f64 / 1e3),
            // the shortest form has three decimals by itself
            Self::ThreeDecimals(us) if us % 10 != 0 && us < MOST_EXACT_US => serializer.serialize_f64(us as f64 / 1e3),
            Self::ThreeDecimals(us) => {
                // an f64 would lose trailing zeros; serde_json parses what it passes through as it is
                let mut text = [0; 24];
                let raw: &RawValue =
                    serde_json::from_str(three_decimals(us, &mut text)).map_err(serde::ser::Error::custom)?;
                raw.serialize(serializer)
            }
        }
    }
}

/// The digits of `us` with a point before the last three. Formatting with `write!` takes several times as long.
fn three_decimals(mut us: u64, text: &mut [u8; 24]) -> &str {
    let mut start = text.len();
    for place in 0.. {
        if place == 3 {
            start -= 1;
            text[start] = b'.';
        }
        start -= 1;
        text[start] = b'0' + (us % 10) as u8;
        us /= 10;
        if us == 0 && place >= 3 {
            break;
        }
    }
    std::str::from_utf8(&text[start..]).unwrap_or("0.000")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::LabelKind;

    fn text(value: &impl Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn latencies_have_the_digits_of_their_form() {
        for (us, three, shortest) in [
            (0, "0.000", "0.0"),
            (7, "0.007", "0.007"),
            (1_050, "1.050", "1.05"),
            (60_000_999, "60000.999", "60000.999"),
            (u64::MAX, "18446744073709551.615", "1.844674407370955e+16"),
        ] {
            assert_eq!(text(&LatencyMs::ThreeDecimals(us)), three);
            assert_eq!(text(&LatencyMs::Shortest(us)), shortest);
        }
    }

    #[test]
    fn three_decimals_are_the_digits_of_the_number() {
        let powers = (0..19).map(|power| 10u64.pow(power));
        for us in (0..2_000_000).step_by(7).chain(powers.flat_map(|us| [us - 1, us, us + 1, us * 3 + 7])) {
            assert_eq!(text(&LatencyMs::ThreeDecimals(us)), format!("{}.{:03}", us / 1000, us % 1000));
        }
    }

    #[test]
    fn a_prediction_has_its_own_type() {
        let json = |score: &Score| text(&PredictedValue::from(score));
        let label =
            |label: &str, kind| Score { label: Some(label.into()), label_kind: kind as i32, ..Score::default() };
        assert_eq!(json(&label("1", LabelKind::Integer)), "1");
        assert_eq!(json(&label("true", LabelKind::Boolean)), "true");
        assert_eq!(json(&label("1.0", LabelKind::Float)), "1.0");
        assert_eq!(json(&label("1", LabelKind::Text)), "\"1\"");
        let numbers = Score { numbers: vec![0.5, 2.0], ..Score::default() };
        assert_eq!(json(&numbers), "[0.5,2.0]");
        let named = Score { names: vec!["z".into(), "a".into()], ..numbers };
        assert_eq!(json(&named), r#"{"z":0.5,"a":2.0}"#, "in the order of the outputs");
        let one = Score { numbers: vec![0.5], value: 7.0, ..Score::default() };
        assert_eq!(json(&one), "0.5", "one output is a plain number");
        let labels = [ClassLabel::Integer(1), ClassLabel::Text("x")].map(|label| label.to_wire()).to_vec();
        assert_eq!(json(&Score { labels: labels.clone(), ..Score::default() }), r#"[1,"x"]"#);
        let only = Score { numbers: vec![1.0], classes: labels[..1].to_vec(), ..Score::default() };
        assert_eq!((json(&only).as_str(), only.class_labels()), ("[1.0]", vec![ClassLabel::Integer(1)]));
    }

    #[test]
    fn values_are_numbers_or_labels() {
        assert_eq!(text(&PredictedValue::Number(0.1 + 0.2)), "0.30000000000000004");
        let score = Score { value: 1.0, label: Some("a\"b".into()), probabilities: vec![], ..Score::default() };
        assert_eq!(text(&PredictedValue::from(&score)), r#""a\"b""#);
        assert_eq!(text(&Timestamp::Milliseconds(-1)), "-1");
        assert_eq!(text(&Timestamp::Iso8601("x")), "\"x\"");
    }
}

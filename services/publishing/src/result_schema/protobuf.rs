//! The document of a result in Protobuf, by `result.proto`, and back. The messages carry the names and numbers of that file.

use std::collections::BTreeMap;

use prost::{Message, Oneof};
use serde_json::{Map, Number, Value, json};

#[derive(Clone, PartialEq, Message)]
struct Result {
    #[prost(string, optional, tag = "1")]
    request_id: Option<String>,
    #[prost(message, optional, tag = "2")]
    prediction: Option<Prediction>,
    #[prost(string, optional, tag = "3")]
    model_version: Option<String>,
    #[prost(oneof = "Time", tags = "4, 5")]
    time: Option<Time>,
    #[prost(int64, optional, tag = "6")]
    row: Option<i64>,
    #[prost(string, optional, tag = "7")]
    model: Option<String>,
    #[prost(bool, optional, tag = "8")]
    cached: Option<bool>,
    #[prost(double, tag = "9")]
    latency_ms: f64,
    #[prost(string, optional, tag = "10")]
    trace_id: Option<String>,
    #[prost(string, optional, tag = "11")]
    fallback_from: Option<String>,
    #[prost(double, repeated, tag = "12")]
    probabilities: Vec<f64>,
    #[prost(message, repeated, tag = "13")]
    classes: Vec<Scalar>,
    #[prost(message, optional, tag = "14")]
    error: Option<Error>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Time {
    #[prost(int64, tag = "4")]
    Timestamp(i64),
    #[prost(string, tag = "5")]
    Text(String),
}

#[derive(Clone, PartialEq, Message)]
struct Prediction {
    #[prost(oneof = "PredictionKind", tags = "1, 2, 3, 4, 5, 6")]
    kind: Option<PredictionKind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum PredictionKind {
    #[prost(double, tag = "1")]
    Number(f64),
    #[prost(int64, tag = "2")]
    Integer(i64),
    #[prost(bool, tag = "3")]
    Boolean(bool),
    #[prost(string, tag = "4")]
    Text(String),
    #[prost(message, tag = "5")]
    List(Scalars),
    #[prost(message, tag = "6")]
    Named(NamedScalars),
}

#[derive(Clone, PartialEq, Message)]
struct Scalar {
    #[prost(oneof = "ScalarKind", tags = "1, 2, 3, 4")]
    kind: Option<ScalarKind>,
}

#[derive(Clone, PartialEq, Oneof)]
enum ScalarKind {
    #[prost(double, tag = "1")]
    Number(f64),
    #[prost(int64, tag = "2")]
    Integer(i64),
    #[prost(bool, tag = "3")]
    Boolean(bool),
    #[prost(string, tag = "4")]
    Text(String),
}

#[derive(Clone, PartialEq, Message)]
struct Scalars {
    #[prost(message, repeated, tag = "1")]
    items: Vec<Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct NamedScalars {
    #[prost(btree_map = "string, message", tag = "1")]
    items: BTreeMap<String, Scalar>,
}

#[derive(Clone, PartialEq, Message)]
struct Error {
    #[prost(string, tag = "1")]
    code: String,
    #[prost(string, tag = "2")]
    message: String,
}

/// The index of the message in its file, as Confluent's serializers write it: the first one.
const FIRST_MESSAGE: u8 = 0;

/// The document in Protobuf, behind the index of its message. A field that it does not have is left out.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let text = |name: &str| document[name].as_str().map(str::to_owned);
    let list = |name: &str| document[name].as_array().map_or(&[][..], Vec::as_slice);
    let time = match &document["timestamp"] {
        Value::String(text) => Some(Time::Text(text.clone())),
        other => other.as_i64().map(Time::Timestamp),
    };
    let error = document["error"].as_object().map(|error| Error {
        code: error["code"].as_str().unwrap_or_default().to_owned(),
        message: error["message"].as_str().unwrap_or_default().to_owned(),
    });
    let result = Result {
        request_id: text("request_id"),
        prediction: prediction(&document["prediction"]),
        model_version: text("model_version"),
        time,
        row: document["row"].as_i64(),
        model: text("model"),
        cached: document["cached"].as_bool(),
        latency_ms: document["latency_ms"].as_f64().unwrap_or_default(),
        trace_id: text("trace_id"),
        fallback_from: text("fallback_from"),
        probabilities: list("probabilities").iter().filter_map(Value::as_f64).collect(),
        classes: list("classes").iter().map(scalar).collect(),
        error,
    };
    let mut out = Vec::with_capacity(1 + result.encoded_len());
    out.push(FIRST_MESSAGE);
    // a vector has room for anything
    result.encode_raw(&mut out);
    out
}

fn prediction(value: &Value) -> Option<Prediction> {
    let kind = match value {
        Value::Null => return None,
        Value::Array(items) => PredictionKind::List(Scalars { items: items.iter().map(scalar).collect() }),
        Value::Object(named) => {
            let items = named.iter().map(|(name, value)| (name.clone(), scalar(value))).collect();
            PredictionKind::Named(NamedScalars { items })
        }
        one => match scalar(one).kind? {
            ScalarKind::Number(number) => PredictionKind::Number(number),
            ScalarKind::Integer(integer) => PredictionKind::Integer(integer),
            ScalarKind::Boolean(boolean) => PredictionKind::Boolean(boolean),
            ScalarKind::Text(text) => PredictionKind::Text(text),
        },
    };
    Some(Prediction { kind: Some(kind) })
}

fn scalar(value: &Value) -> Scalar {
    let kind = match value {
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Some(ScalarKind::Integer(integer)),
            None => number.as_f64().map(ScalarKind::Number),
        },
        Value::Bool(boolean) => Some(ScalarKind::Boolean(*boolean)),
        other => other.as_str().map(|text| ScalarKind::Text(text.to_owned())),
    };
    Scalar { kind }
}

/// The document that [`encode`] wrote, without the fields that it did not have; `None` for other bytes.
pub(super) fn decode(bytes: &[u8]) -> Option<Value> {
    let (index, message) = bytes.split_first()?;
    let result = Result::decode(message).ok().filter(|_| *index == FIRST_MESSAGE)?;
    let error = result.error.map(|Error { code, message }| json!({ "code": code, "message": message }));
    let timestamp = result.time.map(|time| match time {
        Time::Timestamp(time) => Value::from(time),
        Time::Text(text) => Value::from(text),
    });
    let classes = result.classes.into_iter().map(json_of).collect::<Vec<_>>();
    let fields = [
        ("request_id", result.request_id.map(Value::from)),
        ("prediction", result.prediction.and_then(|it| it.kind).map(json_of_prediction)),
        ("model_version", result.model_version.map(Value::from)),
        ("timestamp", timestamp),
        ("row", result.row.map(Value::from)),
        ("model", result.model.map(Value::from)),
        ("cached", result.cached.map(Value::from)),
        ("latency_ms", Some(number(result.latency_ms))),
        ("trace_id", result.trace_id.map(Value::from)),
        ("fallback_from", result.fallback_from.map(Value::from)),
        ("probabilities", some(result.probabilities.into_iter().map(number).collect())),
        ("classes", some(classes)),
        ("error", error),
    ];
    let present = fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Some(Value::Object(present.collect::<Map<_, _>>()))
}

fn some(items: Vec<Value>) -> Option<Value> {
    (!items.is_empty()).then_some(Value::Array(items))
}

fn number(number: f64) -> Value {
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

fn json_of(scalar: Scalar) -> Value {
    match scalar.kind {
        None => Value::Null,
        Some(ScalarKind::Number(value)) => number(value),
        Some(ScalarKind::Integer(integer)) => Value::from(integer),
        Some(ScalarKind::Boolean(boolean)) => Value::from(boolean),
        Some(ScalarKind::Text(text)) => Value::from(text),
    }
}

fn json_of_prediction(kind: PredictionKind) -> Value {
    match kind {
        PredictionKind::Number(value) => number(value),
        PredictionKind::Integer(integer) => Value::from(integer),
        PredictionKind::Boolean(boolean) => Value::from(boolean),
        PredictionKind::Text(text) => Value::from(text),
        PredictionKind::List(Scalars { items }) => Value::Array(items.into_iter().map(json_of).collect()),
        PredictionKind::Named(NamedScalars { items }) => {
            Value::Object(items.into_iter().map(|(name, value)| (name, json_of(value))).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_message_of_the_file_is_named_and_other_bytes_are_none() {
        let bytes = encode(&json!({ "request_id": "r" }));
        assert_eq!(bytes[0], FIRST_MESSAGE);
        assert!(decode(&bytes).is_some() && decode(&bytes[1..]).is_none());
        assert!(decode(b"\xff").is_none() && decode(b"\x00\xff").is_none() && decode(b"").is_none());
    }
}

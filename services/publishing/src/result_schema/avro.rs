//! The document of a result in Avro, by `result.avsc`, and back.

use serde_json::{Map, Number, Value};

/// How a field is written, in the order of the schema.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// `["null", "string"]`
    OptionalText,
    /// `["null", "long"]`
    OptionalLong,
    /// `["null", "boolean"]`
    OptionalBoolean,
    /// Nothing, a scalar, or a list or map of scalars.
    Prediction,
    /// `["long", "string"]`
    Timestamp,
    Double,
    Doubles,
    Scalars,
    /// `["null", Error]`
    Error,
}

/// The fields of the schema, in its order.
const FIELDS: [(&str, Kind); 13] = [
    ("request_id", Kind::OptionalText),
    ("prediction", Kind::Prediction),
    ("model_version", Kind::OptionalText),
    ("timestamp", Kind::Timestamp),
    ("row", Kind::OptionalLong),
    ("model", Kind::OptionalText),
    ("cached", Kind::OptionalBoolean),
    ("latency_ms", Kind::Double),
    ("trace_id", Kind::OptionalText),
    ("fallback_from", Kind::OptionalText),
    ("probabilities", Kind::Doubles),
    ("classes", Kind::Scalars),
    ("error", Kind::Error),
];
/// Branches of `prediction` before its scalars, which have the numbers 1 to 4, and those behind them.
const LIST: i64 = 5;
const MAP: i64 = 6;

/// The document in Avro. A field that it does not have is null or empty.
pub(super) fn encode(document: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    for (name, kind) in FIELDS {
        encode_field(kind, document.get(name).unwrap_or(&Value::Null), &mut out);
    }
    out
}

fn encode_field(kind: Kind, value: &Value, out: &mut Vec<u8>) {
    let items = value.as_array().map_or(&[][..], Vec::as_slice);
    match kind {
        Kind::Timestamp => match value.as_str() {
            Some(time) => {
                long(1, out);
                text(time, out);
            }
            None => {
                long(0, out);
                long(value.as_i64().unwrap_or_default(), out);
            }
        },
        Kind::Double => out.extend_from_slice(&value.as_f64().unwrap_or_default().to_le_bytes()),
        Kind::Doubles => array(items, out, |item, out| encode_field(Kind::Double, item, out)),
        Kind::Scalars => array(items, out, |item, out| scalar(item, 0, out)),
        _ if value.is_null() => long(0, out),
        Kind::Prediction => prediction(value, out),
        Kind::OptionalText => {
            long(1, out);
            text(value.as_str().unwrap_or_default(), out);
        }
        Kind::OptionalLong => {
            long(1, out);
            long(value.as_i64().unwrap_or_default(), out);
        }
        Kind::OptionalBoolean => {
            long(1, out);
            out.push(value.as_bool().unwrap_or_default().into());
        }
        Kind::Error => {
            long(1, out);
            ["code", "message"].iter().for_each(|name| text(value[name].as_str().unwrap_or_default(), out));
        }
    }
}

fn prediction(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Array(items) => {
            long(LIST, out);
            array(items, out, |item, out| scalar(item, 0, out));
        }
        Value::Object(named) => {
            long(MAP, out);
            if !named.is_empty() {
                long(length(named.len()), out);
                for (name, value) in named {
                    text(name, out);
                    scalar(value, 0, out);
                }
            }
            long(0, out);
        }
        scalar_value => scalar(scalar_value, 1, out),
    }
}

/// A value of `["double", "long", "boolean", "string"]`, whose first branch has the number `first`.
fn scalar(value: &Value, first: i64, out: &mut Vec<u8>) {
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(integer) => {
                long(first + 1, out);
                long(integer, out);
            }
            None => {
                long(first, out);
                out.extend_from_slice(&number.as_f64().unwrap_or_default().to_le_bytes());
            }
        },
        Value::Bool(value) => {
            long(first + 2, out);
            out.push((*value).into());
        }
        other => {
            long(first + 3, out);
            text(other.as_str().unwrap_or_default(), out);
        }
    }
}

fn array(items: &[Value], out: &mut Vec<u8>, mut item: impl FnMut(&Value, &mut Vec<u8>)) {
    if !items.is_empty() {
        long(length(items.len()), out);
        items.iter().for_each(|value| item(value, out));
    }
    long(0, out);
}

fn text(text: &str, out: &mut Vec<u8>) {
    long(length(text.len()), out);
    out.extend_from_slice(text.as_bytes());
}

fn length(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// A zig-zag varint.
fn long(value: i64, out: &mut Vec<u8>) {
    let mut bits = ((value << 1) ^ (value >> 63)).cast_unsigned();
    while bits >= 0x80 {
        out.push((bits & 0x7f) as u8 | 0x80);
        bits >>= 7;
    }
    out.push(bits as u8);
}

/// The document that [`encode`] wrote, without the fields that are null or empty; `None` for other bytes.
pub(super) fn decode(bytes: &[u8]) -> Option<Value> {
    let mut reader = Reader(bytes);
    let mut document = Map::new();
    for (name, kind) in FIELDS {
        let value = reader.field(kind)?;
        let empty =
            value.is_null() || value.as_array().is_some_and(|items| items.is_empty() && kind != Kind::Prediction);
        if !empty {
            document.insert(name.to_owned(), value);
        }
    }
    reader.0.is_empty().then_some(Value::Object(document))
}

struct Reader<'b>(&'b [u8]);

impl Reader<'_> {
    fn field(&mut self, kind: Kind) -> Option<Value> {
        match kind {
            Kind::Double => self.double(),
            Kind::Doubles => self.array(Self::double),
            Kind::Scalars => self.array(|reader| {
                let branch = reader.long()?;
                reader.scalar(branch)
            }),
            Kind::Timestamp => match self.long()? {
                0 => self.long().map(Value::from),
                _ => self.text().map(Value::from),
            },
            _ => match (self.long()?, kind) {
                (0, _) => Some(Value::Null),
                (LIST, Kind::Prediction) => self.field(Kind::Scalars),
                (MAP, Kind::Prediction) => self.map(),
                (branch, Kind::Prediction) => self.scalar(branch - 1),
                (_, Kind::OptionalLong) => self.long().map(Value::from),
                (_, Kind::OptionalBoolean) => self.byte().map(|byte| Value::from(byte != 0)),
                (_, Kind::Error) => {
                    let (code, message) = (self.text()?, self.text()?);
                    Some(serde_json::json!({ "code": code, "message": message }))
                }
                _ => self.text().map(Value::from),
            },
        }
    }

    fn scalar(&mut self, branch: i64) -> Option<Value> {
        match branch {
            0 => self.double(),
            1 => self.long().map(Value::from),
            2 => self.byte().map(|byte| Value::from(byte != 0)),
            3 => self.text().map(Value::from),
            _ => None,
        }
    }

    fn array(&mut self, item: impl Fn(&mut Self) -> Option<Value>) -> Option<Value> {
        let mut items = Vec::new();
        loop {
            match self.long()? {
                0 => return Some(Value::Array(items)),
                count => (0..count).try_for_each(|_| item(self).map(|value| items.push(value)))?,
            }
        }
    }

    fn map(&mut self) -> Option<Value> {
        let mut named = Map::new();
        loop {
            let count = self.long()?;
            if count == 0 {
                return Some(Value::Object(named));
            }
            for _ in 0..count {
                let (name, branch) = (self.text()?, self.long()?);
                named.insert(name, self.scalar(branch)?);
            }
        }
    }

    fn double(&mut self) -> Option<Value> {
        let (bytes, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Number::from_f64(f64::from_le_bytes(*bytes)).map(Value::Number)
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::try_from(self.long()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(bytes).ok().map(str::to_owned)
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn long(&mut self) -> Option<i64> {
        let mut bits = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            bits |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some((bits >> 1).cast_signed() ^ -((bits & 1).cast_signed()));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_are_those_of_the_schema_and_bytes_that_are_cut_are_none() {
        let schema: Value = serde_json::from_str(include_str!("result.avsc")).unwrap();
        let names = schema["fields"].as_array().unwrap().iter().map(|field| field["name"].as_str().unwrap());
        assert!(names.eq(FIELDS.iter().map(|(name, _)| *name)));
        let prediction = &schema["fields"][1]["type"];
        let branch = |number: i64| &prediction[usize::try_from(number).unwrap()]["type"];
        assert_eq!((branch(LIST), branch(MAP)), (&"array".into(), &"map".into()));
        let scalars = serde_json::json!(["double", "long", "boolean", "string"]);
        assert_eq!(&Value::from(&prediction.as_array().unwrap()[1..5]), &scalars);
        assert_eq!((&prediction[5]["items"], &prediction[6]["values"]), (&scalars, &scalars));
        let bytes = encode(&serde_json::json!({ "request_id": "r", "prediction": [1.5], "latency_ms": 1.0 }));
        assert!((0..bytes.len()).all(|end| decode(&bytes[..end]).is_none()));
    }
}

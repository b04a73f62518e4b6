//! How results are written on the result topic: as JSON, or behind the id of a schema, as Confluent's serializers write them
//! (a zero byte, the id in four bytes, then Avro, JSON or Protobuf). Everything else of the mesh has them as JSON.
//!
//! # Layout
//! - `avro`, `protobuf`: the same document in these, and back; `result.avsc`, `result.proto` and `result.schema.json`: the
//!   schemas
//! - `registration`: where the id comes from

mod avro;
mod protobuf;
mod registration;

use crate::format::too_large;
pub(crate) use registration::register;

/// Bytes before the value: zero, and the id.
const FRAME: usize = 5;

/// How results are written on the result topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResultEncoding {
    /// As JSON, without a schema.
    #[default]
    Json,
    /// As JSON behind the id of a JSON schema.
    JsonSchema(u32),
    /// As Avro behind the id of its schema.
    Avro(u32),
    /// As Protobuf behind the id of its schema.
    Protobuf(u32),
}

impl ResultEncoding {
    /// The value of a record with the document `json`.
    pub(crate) fn encode(self, json: Vec<u8>) -> Vec<u8> {
        // the document was written by this service, so it is one
        let document = || serde_json::from_slice(&json).unwrap_or_default();
        let (id, body) = match self {
            Self::Json => return json,
            Self::JsonSchema(id) => (id, json),
            Self::Avro(id) => (id, avro::encode(&document())),
            Self::Protobuf(id) => (id, protobuf::encode(&document())),
        };
        let mut value = Vec::with_capacity(FRAME + body.len());
        value.push(0);
        value.extend_from_slice(&id.to_be_bytes());
        value.extend_from_slice(&body);
        value
    }

    /// The error that is sent instead of `value`, a record that is too large to be sent; `None` if it is no shorter.
    pub(crate) fn too_large(self, value: &[u8], message: &str) -> Option<Vec<u8>> {
        let document = match self {
            Self::Json => return too_large(value, message),
            Self::JsonSchema(_) => serde_json::from_slice(value.get(FRAME..)?).ok()?,
            Self::Avro(_) => avro::decode(value.get(FRAME..)?)?,
            Self::Protobuf(_) => protobuf::decode(value.get(FRAME..)?)?,
        };
        let shorter = too_large(&serde_json::to_vec(&document).ok()?, message)?;
        Some(self.encode(shorter)).filter(|shorter| shorter.len() < value.len())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn every_document_of_a_result_reads_back() {
        let documents = include_str!("format/expected.jsonl").lines().chain([
            r#"{"request_id":"r","prediction":[1,2.5,true,"a"],"model_version":"v1","timestamp":-5,"latency_ms":0.5,"classes":[-3,"b"]}"#,
            r#"{"request_id":"r","prediction":{"a":1.0,"b":"x"},"model_version":"v1","timestamp":9007199254740993,"latency_ms":0.5}"#,
            r#"{"prediction":false,"timestamp":"2026","row":70000,"latency_ms":0.0,"error":{"code":"c","message":"m"}}"#,
        ]);
        for text in documents {
            let mut document: Value = serde_json::from_str(text).unwrap();
            let read = [avro::decode(&avro::encode(&document)), protobuf::decode(&protobuf::encode(&document))];
            document.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            assert_eq!(read, [Some(document.clone()), Some(document)], "{text}");
        }
    }

    #[test]
    fn a_value_stands_behind_the_id_of_its_schema_and_can_be_shortened() {
        let document = format!(
            r#"{{"request_id":"r","prediction":[{}1.0],"model_version":"v1","timestamp":5,"model":"m","cached":false,"latency_ms":1.250}}"#,
            "0.5,".repeat(100)
        );
        let json = document.clone().into_bytes();
        assert_eq!(ResultEncoding::Json.encode(json.clone()), json);
        let framed = ResultEncoding::JsonSchema(258).encode(json.clone());
        assert_eq!((&framed[..FRAME], &framed[FRAME..]), (&[0, 0, 0, 1, 2][..], &json[..]));
        let framed = ResultEncoding::Protobuf(258).encode(json.clone());
        assert_eq!(&framed[..=FRAME], &[0, 0, 0, 1, 2, 0]);
        let encodings = [ResultEncoding::JsonSchema(7), ResultEncoding::Avro(7), ResultEncoding::Protobuf(7)];
        for encoding in [ResultEncoding::Json].into_iter().chain(encodings) {
            let value = encoding.encode(json.clone());
            let shorter = encoding.too_large(&value, "is too large").unwrap();
            assert!(shorter.len() < value.len());
            let text = match encoding {
                ResultEncoding::Json => shorter,
                ResultEncoding::JsonSchema(_) => shorter[FRAME..].to_vec(),
                ResultEncoding::Avro(_) => serde_json::to_vec(&avro::decode(&shorter[FRAME..]).unwrap()).unwrap(),
                ResultEncoding::Protobuf(_) => {
                    serde_json::to_vec(&protobuf::decode(&shorter[FRAME..]).unwrap()).unwrap()
                }
            };
            let read: serde_json::Value = serde_json::from_slice(&text).unwrap();
            let error = serde_json::json!({ "code": "payload_too_large", "message": "is too large" });
            assert_eq!((&read["request_id"], &read["error"]), (&"r".into(), &error), "{encoding:?}");
        }
    }
}

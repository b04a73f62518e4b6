//! The bodies of answers: JSON, and raw tensors behind it for a client that wants them.

use actix_web::http::header::{HeaderName, HeaderValue};
use serde::{Serialize, Serializer};

use super::infer::JSON_LENGTH;
use crate::http::exchange::AnswerBody;
use crate::open_inference::{InferAnswer, OutputData, OutputTensor, encode_raw};

#[derive(Serialize)]
struct AnswerJson<'a> {
    model_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<AnswerParameters<'a>>,
    outputs: Vec<OutputJson<'a>>,
}

#[derive(Serialize)]
struct AnswerParameters<'a> {
    fallback_from: &'a str,
}

#[derive(Serialize)]
struct OutputJson<'a> {
    name: &'a str,
    shape: &'a [usize],
    datatype: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<RawParameters>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<DataJson<'a>>,
}

#[derive(Serialize)]
struct RawParameters {
    binary_data_size: usize,
}

/// Elements as a flat array.
struct DataJson<'a>(&'a OutputData);

impl Serialize for DataJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            OutputData::Fp64(numbers) => numbers.serialize(serializer),
            OutputData::Int64(integers) => integers.serialize(serializer),
            OutputData::Bool(booleans) => booleans.serialize(serializer),
            OutputData::Bytes(texts) => texts.serialize(serializer),
        }
    }
}

/// The body of an answer. Outputs that say nothing leave as raw bytes if `binary`.
pub(super) fn body(answer: &InferAnswer, id: Option<&str>, binary: bool) -> AnswerBody {
    let mut raw = Vec::new();
    let outputs: Vec<_> = answer.outputs.iter().map(|output| output_json(output, binary, &mut raw)).collect();
    let is_binary = outputs.iter().any(|output| output.parameters.is_some());
    let json = AnswerJson {
        model_name: &answer.model,
        model_version: answer.version.map(|version| version.to_string()),
        id,
        parameters: answer.fallback_from.as_deref().map(|fallback_from| AnswerParameters { fallback_from }),
        outputs,
    };
    // these types have text keys and finite numbers, so this cannot fail; an empty body would still be an answer
    let mut bytes = serde_json::to_vec(&json).unwrap_or_default();
    if !is_binary {
        return AnswerBody::json(bytes);
    }
    let length = HeaderValue::from(bytes.len());
    bytes.extend_from_slice(&raw);
    let header = Some((HeaderName::from_static(JSON_LENGTH), length));
    AnswerBody { bytes, content_type: "application/octet-stream", header }
}

fn output_json<'a>(output: &'a OutputTensor, binary: bool, raw: &mut Vec<u8>) -> OutputJson<'a> {
    let OutputTensor { name, shape, data, binary: own } = output;
    let binary_data_size = own.unwrap_or(binary).then(|| {
        let before = raw.len();
        encode_raw(data, raw);
        raw.len() - before
    });
    OutputJson {
        name,
        shape,
        datatype: data.datatype().name(),
        data: binary_data_size.is_none().then_some(DataJson(data)),
        parameters: binary_data_size.map(|binary_data_size| RawParameters { binary_data_size }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> InferAnswer {
        let output = |name: &str, data, binary| OutputTensor { name: name.into(), shape: vec![1], data, binary };
        InferAnswer {
            model: "m".into(),
            version: Some(3),
            fallback_from: Some("v4".into()),
            rows: 1,
            cached: 0,
            outputs: vec![
                output("predict", OutputData::Fp64(vec![0.5]), None),
                output("label", OutputData::Bytes(vec!["a".into()]), Some(true)),
            ],
        }
    }

    #[test]
    fn outputs_are_json_or_raw() {
        let mixed = body(&answer(), Some("r"), false);
        let length: usize = mixed.header.unwrap().1.to_str().unwrap().parse().unwrap();
        let json = r#"{"model_name":"m","model_version":"3","id":"r","parameters":{"fallback_from":"v4"},"outputs":[{"name":"predict","shape":[1],"datatype":"FP64","data":[0.5]},{"name":"label","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":5}}]}"#;
        assert_eq!((&mixed.bytes[..length], &mixed.bytes[length..]), (json.as_bytes(), &b"\x01\0\0\0a"[..]));
        assert_eq!(mixed.content_type, "application/octet-stream");
        let raw = body(&answer(), None, true);
        assert!(raw.bytes.ends_with(b"\0\0\0\0\0\0\xe0\x3f\x01\0\0\0a"));
        let plain =
            InferAnswer { outputs: answer().outputs[..1].to_vec(), version: None, fallback_from: None, ..answer() };
        let plain = body(&plain, None, false);
        assert_eq!((plain.content_type, plain.header.is_none()), ("application/json", true));
        assert!(!String::from_utf8(plain.bytes).unwrap().contains("model_version"));
    }
}

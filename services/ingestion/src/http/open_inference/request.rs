//! The JSON of a request for inference, and the raw tensors behind it.

use std::collections::BTreeMap;

use forebay_contract::Problem;
use serde::Deserialize;
use serde_json::Value;

use crate::http::json_object::Object;
use crate::http::json_tokens;
use crate::open_inference::{
    Collected, InferRequest, InputTensor, ParameterValue, Parameters, RequestedOutput, datatype_of, decode_content,
    decode_raw, distinct, invalid, shape_of,
};
use crate::parse::MAX_TEXT_BYTES;

type ParametersJson = BTreeMap<String, Value>;

/// Fields that are not here are ignored: some clients send the name of the model as well.
#[derive(Deserialize)]
struct RequestJson {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Option<ParametersJson>,
    inputs: Vec<Object<InputJson>>,
    #[serde(default)]
    outputs: Option<Vec<Object<OutputJson>>>,
}

#[derive(Deserialize)]
struct InputJson {
    name: String,
    shape: Vec<i64>,
    datatype: String,
    #[serde(default)]
    parameters: Option<ParametersJson>,
    #[serde(default)]
    data: Option<Collected>,
}

#[derive(Deserialize)]
struct OutputJson {
    name: String,
    #[serde(default)]
    parameters: Option<ParametersJson>,
}

/// Reads a body whose first `json_length` bytes are JSON; the raw tensors follow.
///
/// # Errors
/// `invalid_request` or `invalid_features`, with the tensor.
pub(crate) fn read(body: &[u8], json_length: usize) -> Result<InferRequest, Problem> {
    let (json, mut raw) = body.split_at_checked(json_length).ok_or_else(|| {
        let text = format!("Inference-Header-Content-Length is {json_length}, but the body has {} bytes", body.len());
        invalid(text)
    })?;
    let request: RequestJson = json_tokens::parse(json)?;
    let mut parameters = Parameters::default();
    for (name, value) in request.parameters.iter().flatten() {
        parameters.set(name, &parameter(value))?;
    }
    let mut inputs = Vec::with_capacity(request.inputs.len());
    for Object(input) in request.inputs {
        let (tensor, rest) = read_input(input, raw)?;
        inputs.push(tensor);
        raw = rest;
    }
    if !raw.is_empty() {
        return Err(invalid(format!("{} bytes are left over behind the tensors of the request", raw.len())));
    }
    Ok(InferRequest { id: id(request.id)?, parameters, inputs, outputs: read_outputs(request.outputs)? })
}

/// The id, if there is one: some clients send an empty one.
fn id(id: Option<String>) -> Result<Option<String>, Problem> {
    match id {
        Some(id) if id.len() > MAX_TEXT_BYTES => Err(invalid(format!("id: longer than {MAX_TEXT_BYTES} bytes"))),
        id => Ok(id.filter(|id| !id.is_empty())),
    }
}

/// A tensor, and the raw bytes behind those that belong to it.
fn read_input(input: InputJson, raw: &[u8]) -> Result<(InputTensor, &[u8]), Problem> {
    let InputJson { name, shape, datatype, parameters, data } = input;
    let datatype = datatype_of(&name, &datatype)?;
    let parameters = parameters.unwrap_or_default();
    if parameters.contains_key("shared_memory_region") {
        return Err(invalid(format!("input '{name}': shared memory is not supported")));
    }
    let content_type = parameters.get("content_type").and_then(Value::as_str);
    let Some(size) = parameters.get("binary_data_size") else {
        let data = data.ok_or_else(|| invalid(format!("input '{name}': has neither data nor binary_data_size")))?;
        let data = decode_content(data, content_type, datatype, &name)?;
        let tensor = InputTensor::new(name, datatype, &shape, data)?;
        return Ok((tensor.checked()?, raw));
    };
    if data.is_some() {
        return Err(invalid(format!("input '{name}': has both data and binary_data_size")));
    }
    let size = size.as_u64().and_then(|size| usize::try_from(size).ok());
    let size = size.ok_or_else(|| invalid(format!("input '{name}': binary_data_size is not a number of bytes")))?;
    let (bytes, rest) = raw.split_at_checked(size).ok_or_else(|| {
        invalid(format!(
            "input '{name}': binary_data_size is {size}, but only {} bytes are left in the body",
            raw.len()
        ))
    })?;
    let (_, count) = shape_of(&name, &shape)?;
    let elements = decode_raw(bytes, datatype, count, &name)?;
    let elements = decode_content(elements, content_type, datatype, &name)?;
    Ok((InputTensor::new(name, datatype, &shape, elements)?, rest))
}

fn read_outputs(outputs: Option<Vec<Object<OutputJson>>>) -> Result<Vec<RequestedOutput>, Problem> {
    let mut wanted: Vec<RequestedOutput> = Vec::new();
    for Object(OutputJson { name, parameters }) in outputs.into_iter().flatten() {
        let parameters = parameters.unwrap_or_default();
        if parameters.contains_key("shared_memory_region") {
            return Err(invalid(format!("output '{name}': shared memory is not supported")));
        }
        let flag = |value: &Value| {
            value.as_bool().ok_or_else(|| invalid(format!("output '{name}': binary_data is neither true nor false")))
        };
        let number = |value: &Value| {
            let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
            number.ok_or_else(|| invalid(format!("output '{name}': classification is not a number of classes")))
        };
        let binary = parameters.get("binary_data").map(flag).transpose()?;
        let classification = parameters.get("classification").map(number).transpose()?.unwrap_or_default();
        wanted.push(RequestedOutput { name, binary, classification });
    }
    distinct(wanted)
}

fn parameter(value: &Value) -> ParameterValue {
    match value {
        Value::Bool(boolean) => ParameterValue::Boolean(*boolean),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => ParameterValue::Integer(integer),
            None => ParameterValue::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => ParameterValue::Text(text.clone()),
        other => ParameterValue::Text(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open_inference::{Datatype, WholeFloats};

    fn whole(json: &str) -> Result<InferRequest, Problem> {
        read(json.as_bytes(), json.len())
    }

    fn refused(json: &str) -> String {
        whole(json).map(drop).unwrap_err().message
    }

    #[test]
    fn a_request_of_a_client_is_read() {
        let json = r#"{"id":"","model_name":"m","parameters":{"timeout":1000,"binary_data_output":true},"inputs":[{"data":[[1,2],[3,null]],
            "name":"x","shape":[2,2],"datatype":"FP32","parameters":{"content_type":"np"}}],"outputs":[{"name":"predict","parameters":{"binary_data":false}}]}"#;
        let request = whole(json).unwrap();
        assert_eq!((request.id, request.parameters.binary_output), (None, true));
        let Collected::Numbers(numbers, _) = &request.inputs[0].elements else { panic!("typed") };
        assert!(numbers[..3] == [1.0, 2.0, 3.0] && numbers[3].is_nan());
        assert_eq!(request.outputs[0].binary, Some(false));
    }

    #[test]
    fn json_and_raw_tensors_mix() {
        let json = r#"{"inputs":[{"name":"a","shape":[1],"datatype":"FP64","parameters":{"binary_data_size":8}},
            {"name":"b","shape":[1],"datatype":"INT8","data":[7]},
            {"name":"c","shape":[2],"datatype":"UINT8","parameters":{"binary_data_size":2}}]}"#;
        let body = [json.as_bytes(), &1.5_f64.to_le_bytes(), &[1, 2]].concat();
        let request = read(&body, json.len()).unwrap();
        let numbers: Vec<_> = request.inputs.iter().map(|it| it.elements.clone()).collect();
        let (floats, integers) = (WholeFloats::All, WholeFloats::None);
        assert_eq!(numbers[0], Collected::Numbers(vec![1.5], floats));
        assert_eq!(numbers[1], Collected::Numbers(vec![7.0], integers.clone()));
        assert_eq!(numbers[2], Collected::Numbers(vec![1.0, 2.0], integers));
        assert_eq!(request.inputs[2].datatype, Datatype::Uint8);
        let longer = [&body[..], &[0]].concat();
        assert!(read(&longer, json.len()).unwrap_err().message.contains("1 bytes are left over"));
        assert!(read(&body[..body.len() - 1], json.len()).unwrap_err().message.contains("only 1 bytes are left"));
        assert!(read(&body, body.len() + 1).is_err());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let input = |rest: &str| format!(r#"{{"inputs":[{{"name":"x",{rest}}}]}}"#);
        for (json, why) in [
            ("{}".to_owned(), "missing field `inputs`"),
            (String::new(), "the body is empty"),
            ("[1".to_owned(), "failed to parse"),
            (input(r#""shape":[1],"datatype":"FP64""#), "neither data nor binary_data_size"),
            (input(r#""shape":[1],"datatype":"FP63","data":[1]"#), "unknown datatype 'FP63'"),
            (input(r#""shape":[-1],"datatype":"FP64","data":[1]"#), "has a negative size"),
            (input(r#""shape":[9223372036854775807,2],"datatype":"FP64","data":[1]"#), "too many elements"),
            (input(r#""shape":[2],"datatype":"FP64","data":[1]"#), "shape [2] has 2 elements, but 1 were sent"),
            (input(r#""shape":[1],"datatype":"FP64","data":[Infinity]"#), "element 0 is not finite"),
            (input(r#""shape":[1],"datatype":"FP64","data":[1],"parameters":{"binary_data_size":8}"#), "both data and"),
            (input(r#""shape":[1],"datatype":"FP64","parameters":{"binary_data_size":-8}"#), "not a number of bytes"),
            (input(r#""shape":[1],"datatype":"FP64","parameters":{"shared_memory_region":"r"}"#), "shared memory"),
            (r#"{"inputs":[],"outputs":[{"name":"a"},{"name":"a"}]}"#.to_owned(), "output 'a' is given twice"),
            (r#"{"inputs":[],"parameters":{"sequence_id":5}}"#.to_owned(), "parameters.sequence_id"),
        ] {
            let text = refused(&json);
            assert!(text.contains(why), "{json}: {text}");
        }
        let base64 = |text: &str| {
            let input = input(&format!(
                r#""shape":[1],"datatype":"BYTES","data":["{text}"],"parameters":{{"content_type":"base64"}}"#
            ));
            whole(&input)
                .map(|mut request| request.inputs.remove(0).elements.value(0))
                .map_err(|problem| problem.message)
        };
        assert_eq!(base64("w6k="), Ok(crate::open_inference::Value::Text("\u{e9}".into())));
        assert!(base64("text").unwrap_err().contains("element 0 is not the base64"), "its bytes are no UTF-8");
        assert!(base64("no base64").unwrap_err().contains("element 0 is not the base64"));
        let deep = format!(r#"{{"inputs":[],"parameters":{{"a":{}1{}}}}}"#, "[".repeat(200), "]".repeat(200));
        assert!(refused(&deep).contains("recursion limit"));
    }
}

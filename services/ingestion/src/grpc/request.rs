//! Messages of requests to the types of `open_inference`.

use std::collections::HashMap;

use bytes::Bytes;
use forebay_contract::Problem;

use super::proto::infer_parameter::ParameterChoice;
use super::proto::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use super::proto::{InferParameter, InferTensorContents, ModelInferRequest};
use crate::open_inference::{
    Collected, Datatype, InferRequest, InputTensor, ParameterValue, Parameters, RequestedOutput, Value, WholeFloats,
    datatype_of, decode_content, decode_raw, distinct, invalid, shape_of, unsuitable,
};
use crate::parse::MAX_TEXT_BYTES;

/// Reads a request. Its tensors are either all typed or all raw.
///
/// # Errors
/// `invalid_request` or `invalid_features`, with the tensor.
pub(crate) fn read(message: ModelInferRequest) -> Result<InferRequest, Problem> {
    let ModelInferRequest { id, parameters, inputs, outputs, raw_input_contents: raw, .. } = message;
    if id.len() > MAX_TEXT_BYTES {
        return Err(invalid(format!("id: longer than {MAX_TEXT_BYTES} bytes")));
    }
    let mut meant = Parameters { binary_output: !raw.is_empty(), ..Parameters::default() };
    for (name, value) in &parameters {
        if let Some(value) = parameter(value) {
            meant.set(name, &value)?;
        }
    }
    if !raw.is_empty() && raw.len() != inputs.len() {
        return Err(invalid(format!("{} raw_input_contents for {} inputs", raw.len(), inputs.len())));
    }
    let mut raw = raw.into_iter();
    let inputs = inputs.into_iter().map(|input| tensor(input, raw.next())).collect::<Result<_, _>>()?;
    let id = Some(id).filter(|id| !id.is_empty());
    Ok(InferRequest { id, parameters: meant, inputs, outputs: requested(outputs)? })
}

fn parameter(value: &InferParameter) -> Option<ParameterValue> {
    Some(match value.parameter_choice.as_ref()? {
        ParameterChoice::BoolParam(value) => ParameterValue::Boolean(*value),
        ParameterChoice::Int64Param(value) => ParameterValue::Integer(*value),
        ParameterChoice::Uint64Param(value) => ParameterValue::Integer(i64::try_from(*value).unwrap_or(i64::MAX)),
        ParameterChoice::DoubleParam(value) => ParameterValue::Float(*value),
        ParameterChoice::StringParam(text) => ParameterValue::Text(text.clone()),
    })
}

fn tensor(input: InferInputTensor, raw: Option<Bytes>) -> Result<InputTensor, Problem> {
    let InferInputTensor { name, datatype, shape, parameters, contents } = input;
    let datatype = datatype_of(&name, &datatype)?;
    if parameters.contains_key("shared_memory_region") {
        return Err(invalid(format!("input '{name}': shared memory is not supported")));
    }
    let content_type = match parameters.get("content_type").and_then(parameter) {
        Some(ParameterValue::Text(kind)) => Some(kind),
        _ => None,
    };
    match (raw, contents) {
        (Some(_), Some(contents)) if contents != InferTensorContents::default() => {
            Err(invalid(format!("input '{name}': has both contents and raw_input_contents")))
        }
        // some libraries send an empty message beside raw contents
        (Some(bytes), _) => {
            let (_, count) = shape_of(&name, &shape)?;
            let elements = decode_raw(&bytes, datatype, count, &name)?;
            let elements = decode_content(elements, content_type.as_deref(), datatype, &name)?;
            InputTensor::new(name, datatype, &shape, elements)
        }
        (None, contents) => {
            let elements = typed(contents.unwrap_or_default(), datatype, &name)?;
            let elements = decode_content(elements, content_type.as_deref(), datatype, &name)?;
            InputTensor::new(name, datatype, &shape, elements)?.checked()
        }
    }
}

/// The typed contents of a tensor, from the field of its datatype.
fn typed(contents: InferTensorContents, datatype: Datatype, name: &str) -> Result<Collected, Problem> {
    let integers = |values: Vec<i64>| {
        let mut collected = Collected::default();
        values.into_iter().for_each(|value| collected.push_integer(value));
        collected
    };
    Ok(match datatype {
        Datatype::Bool => contents.bool_contents.into_iter().map(Value::Boolean).collect(),
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => {
            Collected::Numbers(contents.int_contents.into_iter().map(f64::from).collect(), WholeFloats::None)
        }
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => {
            Collected::Numbers(contents.uint_contents.into_iter().map(f64::from).collect(), WholeFloats::None)
        }
        Datatype::Int64 => integers(contents.int64_contents),
        Datatype::Uint64 => {
            let value = |value: u64| i64::try_from(value).map_or(Value::Float(value as f64), Value::Integer);
            contents.uint64_contents.into_iter().map(value).collect()
        }
        Datatype::Fp32 => {
            Collected::Numbers(contents.fp32_contents.into_iter().map(f64::from).collect(), WholeFloats::All)
        }
        Datatype::Fp64 => Collected::Numbers(contents.fp64_contents, WholeFloats::All),
        Datatype::Bytes => {
            let text = |(index, bytes): (usize, Bytes)| match std::str::from_utf8(&bytes) {
                Ok(text) => Ok(Value::Text(text.into())),
                Err(_) => Err(unsuitable(format!("input '{name}': element {index} is not valid UTF-8"))),
            };
            contents.bytes_contents.into_iter().enumerate().map(text).collect::<Result<_, _>>()?
        }
        Datatype::Fp16 | Datatype::Bf16 => {
            let text = format!("input '{name}': {} can be sent in raw_input_contents alone", datatype.name());
            return Err(unsuitable(text));
        }
    })
}

fn requested(outputs: Vec<InferRequestedOutputTensor>) -> Result<Vec<RequestedOutput>, Problem> {
    let mut wanted: Vec<RequestedOutput> = Vec::with_capacity(outputs.len());
    for InferRequestedOutputTensor { name, parameters } in outputs {
        if parameters.contains_key("shared_memory_region") {
            return Err(invalid(format!("output '{name}': shared memory is not supported")));
        }
        let classification = classes(&parameters)
            .ok_or_else(|| invalid(format!("output '{name}': classification is not a number of classes")))?;
        wanted.push(RequestedOutput { name, binary: None, classification });
    }
    distinct(wanted)
}

fn classes(parameters: &HashMap<String, InferParameter>) -> Option<usize> {
    let Some(value) = parameters.get("classification") else { return Some(0) };
    match parameter(value)? {
        ParameterValue::Integer(classes) => usize::try_from(classes).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(datatype: &str, shape: &[i64], contents: Option<InferTensorContents>) -> InferInputTensor {
        InferInputTensor {
            name: "x".into(),
            datatype: datatype.into(),
            shape: shape.to_vec(),
            contents,
            ..InferInputTensor::default()
        }
    }

    fn refused(message: ModelInferRequest) -> String {
        read(message).map(drop).unwrap_err().message
    }

    #[test]
    fn typed_and_raw_tensors_are_the_same() {
        let contents = InferTensorContents { fp32_contents: vec![1.5, 2.0], ..InferTensorContents::default() };
        let typed =
            ModelInferRequest { inputs: vec![input("FP32", &[2], Some(contents))], ..ModelInferRequest::default() };
        let bytes = [1.5_f32.to_le_bytes(), 2.0_f32.to_le_bytes()].concat();
        let raw = ModelInferRequest {
            inputs: vec![input("FP32", &[2], None)],
            raw_input_contents: vec![bytes.into()],
            ..ModelInferRequest::default()
        };
        // as some libraries send it
        let mut with_empty = raw.clone();
        with_empty.inputs[0].contents = Some(InferTensorContents::default());
        let (typed, raw) = (read(typed).unwrap(), read(raw).unwrap());
        assert_eq!(read(with_empty).unwrap().inputs, raw.inputs);
        assert_eq!(typed.inputs, raw.inputs);
        assert!(raw.parameters.binary_output && !typed.parameters.binary_output);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let contents =
            || Some(InferTensorContents { fp64_contents: vec![f64::INFINITY], ..InferTensorContents::default() });
        let with = |inputs, raw| ModelInferRequest { inputs, raw_input_contents: raw, ..ModelInferRequest::default() };
        for (message, why) in [
            (with(vec![input("FP64", &[1], contents())], vec![]), "element 0 is inf"),
            (with(vec![input("FP64", &[2], contents())], vec![]), "2 elements, but 1 were sent"),
            (with(vec![input("FP16", &[1], None)], vec![]), "raw_input_contents alone"),
            (
                with(vec![input("FP64", &[1], None)], vec![Bytes::from_static(b"1234567")]),
                "are 8 bytes, but 7 were sent",
            ),
            (with(vec![input("FP64", &[1], contents())], vec![Bytes::from_static(b"12345678")]), "has both contents"),
            (with(vec![], vec![Bytes::new()]), "1 raw_input_contents for 0 inputs"),
        ] {
            let text = refused(message);
            assert!(text.contains(why), "{text}");
        }
    }
}

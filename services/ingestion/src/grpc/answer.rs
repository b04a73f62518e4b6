//! Answers as messages.

use std::collections::HashMap;

use bytes::Bytes;

use super::proto::infer_parameter::ParameterChoice;
use super::proto::model_infer_response::InferOutputTensor;
use super::proto::{InferParameter, InferTensorContents, ModelInferResponse};
use crate::open_inference::{InferAnswer, OutputData, Parameters, encode_raw};

/// The message of an answer; its tensors are raw if those of the request were.
pub(super) fn message(answer: InferAnswer, id: Option<String>, parameters: &Parameters) -> ModelInferResponse {
    let mut response = ModelInferResponse {
        model_name: answer.model,
        model_version: answer.version.map(|version| version.to_string()).unwrap_or_default(),
        id: id.unwrap_or_default(),
        parameters: HashMap::new(),
        outputs: Vec::with_capacity(answer.outputs.len()),
        raw_output_contents: Vec::new(),
    };
    if let Some(from) = answer.fallback_from {
        response.parameters.insert("fallback_from".to_owned(), choice(ParameterChoice::StringParam(from)));
    }
    if parameters.final_response {
        response.parameters.insert("triton_final_response".to_owned(), choice(ParameterChoice::BoolParam(true)));
    }
    for output in answer.outputs {
        let datatype = output.data.datatype().name().to_owned();
        let mut contents = None;
        if parameters.binary_output {
            let mut raw = Vec::new();
            encode_raw(&output.data, &mut raw);
            response.raw_output_contents.push(Bytes::from(raw));
        } else {
            contents = Some(typed(output.data));
        }
        let shape = output.shape.iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect();
        response.outputs.push(InferOutputTensor {
            name: output.name,
            datatype,
            shape,
            parameters: HashMap::new(),
            contents,
        });
    }
    response
}

fn choice(choice: ParameterChoice) -> InferParameter {
    InferParameter { parameter_choice: Some(choice) }
}

fn typed(data: OutputData) -> InferTensorContents {
    let mut contents = InferTensorContents::default();
    match data {
        OutputData::Fp64(numbers) => contents.fp64_contents = numbers,
        OutputData::Int64(integers) => contents.int64_contents = integers,
        OutputData::Bool(booleans) => contents.bool_contents = booleans,
        OutputData::Bytes(texts) => contents.bytes_contents = texts.into_iter().map(Bytes::from).collect(),
    }
    contents
}

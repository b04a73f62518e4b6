//! The Open Inference Protocol (version 2), apart from how it is carried: what a request says, and the tensors of its
//! answer. The HTTP server and the gRPC server translate to and from these types.
//!
//! # Layout
//! - `datatype`: the element types, and their sizes in raw tensors; `description`: the tensors of a model
//! - `tensor`: the tensors and parameters of a request; `elements`: their values, checked against the datatype
//! - `whole_floats`: which of the values are `1.0` and not `1`
//! - `raw`: tensors as little-endian bytes
//! - `rows`: tensors to rows of a model; `outputs`: scores to tensors
//! - `statistics`: counts of requests by model and version

mod datatype;
mod description;
mod elements;
mod outputs;
mod raw;
mod rows;
mod statistics;
mod tensor;
mod whole_floats;

pub(crate) use datatype::Datatype;
pub(crate) use description::{TensorDescription, describe_tensors};
pub(crate) use elements::{ArrayOf, Collected, ElementOf, Value};
pub(crate) use outputs::{InferAnswer, OutputData, OutputTensor, PREDICT, answer, model_output};
pub(crate) use raw::{decode as decode_raw, encode as encode_raw};
pub(crate) use rows::{MATRIX, check_size, name_bytes, row, rows};
pub(crate) use statistics::{ModelCounts, ModelStatistics};
pub(crate) use tensor::{
    InferRequest, InputTensor, ParameterValue, Parameters, RequestedOutput, datatype_of, decode_content, distinct,
    shape_of,
};
pub(crate) use whole_floats::WholeFloats;

use forebay_contract::{ErrorCode, Problem};

/// A request that does not follow the protocol.
pub(crate) fn invalid(message: impl Into<String>) -> Problem {
    Problem::new(ErrorCode::InvalidRequest, message)
}

/// Tensors whose values or shapes do not suit the model.
pub(crate) fn unsuitable(message: impl Into<String>) -> Problem {
    Problem::new(ErrorCode::InvalidFeatures, message)
}

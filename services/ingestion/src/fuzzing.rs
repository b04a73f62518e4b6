//! What the fuzz targets call: the parsers that are private to the crate. It is compiled for them alone.

use forebay_contract::Problem;
use prost::Message;

use crate::open_inference::{InferRequest, rows};
use crate::{grpc, http, schemas};

/// The most rows of one request here.
const MAX_ROWS: usize = 64;

/// The number of rows in a request for inference whose first `json_length` bytes are JSON.
///
/// # Errors
/// As the HTTP server answers it.
pub fn infer_http(body: &[u8], json_length: usize) -> Result<usize, Problem> {
    counted(http::read_infer(body, json_length)?)
}

/// The number of rows in a message of gRPC; `None` for bytes that are no such message.
pub fn infer_grpc(message: &[u8]) -> Option<Result<usize, Problem>> {
    let message = grpc::ModelInferRequest::decode(message).ok()?;
    Some(grpc::read_infer(message).and_then(counted))
}

fn counted(request: InferRequest) -> Result<usize, Problem> {
    rows(request.inputs, &columns(), MAX_ROWS).map(|rows| rows.len())
}

/// The number of rows in a JSON body of MLflow's protocol.
///
/// # Errors
/// As the HTTP server answers it.
pub fn invocations(body: &[u8]) -> Result<usize, Problem> {
    http::json_rows(body, &columns(), &["p".to_owned()], MAX_ROWS).map(|(rows, _)| rows.len())
}

/// The number of rows in a body in CSV.
///
/// # Errors
/// As the HTTP server answers it.
pub fn csv(body: &[u8]) -> Result<usize, Problem> {
    http::csv_rows(body, &columns(), MAX_ROWS).map(|rows| rows.len())
}

/// The JSON that a value of an Avro schema makes.
///
/// # Errors
/// What is wrong with the schema or the value.
pub fn avro(schema: &str, value: &[u8]) -> Result<Vec<u8>, String> {
    schemas::avro_json(schema, value)
}

/// The JSON that a value of a Protobuf schema makes.
///
/// # Errors
/// What is wrong with the schema or the value.
pub fn protobuf(schema: &str, value: &[u8]) -> Result<Vec<u8>, String> {
    schemas::protobuf_json(schema, value)
}

fn columns() -> Vec<String> {
    ["age", "bmi", "s1"].map(str::to_owned).to_vec()
}

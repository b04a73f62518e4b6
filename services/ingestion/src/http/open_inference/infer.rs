//! `POST /v2/models/{model}[/versions/{version}]/infer`.

use std::time::Duration;

use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use forebay_contract::Problem;

use super::routes::Target;
use super::{answer, error_json, request};
use crate::http::exchange::{self, AnswerBody, Protocol, Received};
use crate::http::model_list::{ModelListing, ServedModel};
use crate::http::schema::{InferenceRequest, RawTensors, RefusalResponses};
use crate::http::state::HttpState;
use crate::open_inference::{
    self, Datatype, InferRequest, InputTensor, MATRIX, Parameters, RequestedOutput, decode_raw, invalid, unsuitable,
};
use crate::pending::RowOutcomes;
use crate::rejection::HttpRejection;
use crate::request::ParsedRequest;

/// Length of the JSON in a body with raw tensors. Its presence alone says that there are some.
pub(super) const JSON_LENGTH: &str = "inference-header-content-length";

/// The handler.
#[utoipa::path(
    post,
    path = "/v2/models/{model}/infer",
    operation_id = "infer",
    tag = "open inference protocol",
    request_body(
        content((InferenceRequest = "application/json"), (RawTensors = "application/octet-stream")),
        description = "Tensors, as JSON or as raw tensors behind it (Inference-Header-Content-Length)"
    ),
    params(
        ("model" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "Identifies the request: the same key and payload get the same answer again"),
        ("Inference-Header-Content-Length" = Option<u64>, Header, description = "Length of the JSON in a body with raw tensors"),
    ),
    responses(
        (
            status = 200,
            description = "The outputs, as JSON or as raw tensors behind it",
            content((serde_json::Value = "application/json"), (RawTensors = "application/octet-stream"))
        ),
        RefusalResponses,
    ),
)]
pub(in crate::http) async fn infer(
    request: HttpRequest,
    payload: Payload,
    state: Data<HttpState>,
    models: Data<ModelListing>,
) -> HttpResponse {
    let target = Target::of(&request);
    let inference =
        Inference { target, models, state: state.clone(), model: None, id: None, outputs: Vec::new(), binary: false };
    exchange::serve(request, payload, &state, inference).await
}

/// One request.
struct Inference {
    target: Target,
    models: Data<ModelListing>,
    state: Data<HttpState>,
    /// Once it is known.
    model: Option<ServedModel>,
    id: Option<String>,
    outputs: Vec<RequestedOutput>,
    binary: bool,
}

impl Protocol for Inference {
    fn route(&self) -> &'static str {
        "/v2/models/{model}/infer"
    }

    fn read(&mut self, received: Received<'_>) -> Result<ParsedRequest, HttpRejection> {
        let Received { request, caller, body, max_rows } = received;
        let version = self.target.version.as_deref();
        let model = &*self.model.insert(self.models.served_to(caller, &self.target.model, version)?);
        let inference = match json_length(request, body.len())? {
            // the whole body is the only tensor
            Some(0) => raw_request(&body, model)?,
            Some(length) => request::read(&body, length)?,
            None => request::read(&body, body.len())?,
        };
        let InferRequest { id, parameters, inputs, outputs } = inference;
        self.id.clone_from(&id);
        let output = open_inference::model_output(&outputs)?;
        self.outputs = outputs;
        self.binary = parameters.binary_output;
        let rows = open_inference::rows(inputs, model.columns(), max_rows)?;
        Ok(ParsedRequest {
            request_id: id,
            priority: parameters.priority,
            timeout: parameters.timeout,
            params: parameters.of_model(model.params()),
            // the scores of a prediction have the probabilities as well
            output: output.to_owned(),
            ..ParsedRequest::of_rows(model.name(), version, rows)
        })
    }

    fn write(&mut self, rows: RowOutcomes, took: Duration) -> Result<AnswerBody, Problem> {
        let own = self.model.as_ref().map_or("", ServedModel::output_name);
        let answered = open_inference::answer(rows, &self.outputs, own)?;
        self.state.statistics.succeeded(&answered, took);
        Ok(answer::body(&answered, self.id.as_deref(), self.binary))
    }

    fn refuse(&mut self, problem: &Problem, took: Duration) -> Vec<u8> {
        if let Some(model) = &self.model {
            self.state.statistics.failed(model.name(), model.version, took);
        }
        error_json(problem)
    }
}

/// The length of the JSON, if the header is there.
fn json_length(request: &HttpRequest, body: usize) -> Result<Option<usize>, Problem> {
    let Some(header) = request.headers().get(JSON_LENGTH) else { return Ok(None) };
    let length = header.to_str().ok().and_then(|text| text.trim().parse::<usize>().ok());
    match length {
        Some(length) if length <= body => Ok(Some(length)),
        Some(length) => {
            Err(invalid(format!("Inference-Header-Content-Length is {length}, but the body has {body} bytes")))
        }
        None => Err(invalid("Inference-Header-Content-Length: expected a number of bytes")),
    }
}

/// A request without JSON: the values of the rows, as the model's metadata describes them.
fn raw_request(body: &Bytes, model: &ServedModel) -> Result<InferRequest, Problem> {
    let width = model.columns().len();
    let row = width * Datatype::Fp64.size().unwrap_or_default();
    if row == 0 || body.is_empty() || !body.len().is_multiple_of(row) {
        return Err(unsuitable(format!("{} bytes are no rows of {width} values of FP64", body.len())));
    }
    let rows = body.len() / row;
    let elements = decode_raw(body, Datatype::Fp64, rows * width, MATRIX)?;
    let input = InputTensor { name: MATRIX.to_owned(), datatype: Datatype::Fp64, shape: vec![rows, width], elements };
    let parameters = Parameters { binary_output: true, ..Parameters::default() };
    Ok(InferRequest { id: None, parameters, inputs: vec![input], outputs: Vec::new() })
}

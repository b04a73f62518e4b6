//! MLflow's scoring protocol: `/invocations` in JSON and CSV, `/ping`, `/health` and `/version`. SageMaker's runtime client
//! sends the same to `/endpoints/{name}/invocations`.
//!
//! It differs from MLflow's own server in this: a prediction that is not finite is `null`, errors hold neither a stack
//! trace nor the caller's data, arrays in the order of the columns are taken even if the columns have names, another value of
//! a parameter than its default is refused, and values are not converted to the types of their columns.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use forebay_contract::{ErrorCode, PredictedValue, Problem, list_names};
use serde::Serialize;
use serde_json::json;

use super::mlflow_tables::{csv_rows, json_rows};
use super::{PathTarget, request_of, scores_or_nan, without_names};
use crate::http::exchange::{self, AnswerBody, Protocol, Received};
use crate::http::model_list::ModelListing;
use crate::http::schema::{CsvTable, InvocationsRequest, RefusalResponses};
use crate::http::state::HttpState;
use crate::open_inference::unsuitable;
use crate::pending::RowOutcomes;
use crate::rejection::HttpRejection;
use crate::request::{ParsedRequest, Row};

/// The version of MLflow whose protocol this is.
const VERSION: &str = "3.17.2";

#[derive(Serialize)]
struct AnswerJson<'s> {
    predictions: Vec<PredictedValue<'s>>,
}

/// The handler of `POST /invocations` and `POST /models/{model}[/versions/{version}]/invocations`.
#[utoipa::path(
    post,
    path = "/invocations",
    operation_id = "invocations",
    tag = "other protocols",
    request_body(
        content((InvocationsRequest = "application/json"), (CsvTable = "text/csv")),
        description = "dataframe_split, dataframe_records, instances or inputs, with params if the model has any; or a header and rows in CSV"
    ),
    params(("Idempotency-Key" = Option<String>, Header, description = "Identifies the request: the same key and payload get the same answer again")),
    responses(
        (status = 200, description = "The predictions of the default model", body = serde_json::Value),
        RefusalResponses,
    ),
)]
pub(in crate::http) async fn invocations(
    request: HttpRequest,
    payload: Payload,
    state: Data<HttpState>,
    models: Data<ModelListing>,
) -> HttpResponse {
    let protocol = Mlflow { target: PathTarget::of(&request), models, sagemaker: false };
    exchange::serve(request, payload, &state, protocol).await
}

/// The handler of `POST /endpoints/{model}/invocations`.
#[utoipa::path(
    post,
    path = "/endpoints/{model}/invocations",
    operation_id = "invoke_endpoint",
    tag = "other protocols",
    request_body(
        content((InvocationsRequest = "application/json"), (CsvTable = "text/csv")),
        description = "As for /invocations"
    ),
    params(
        ("model" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "Identifies the request: the same key and payload get the same answer again"),
    ),
    responses(
        (status = 200, description = "The predictions", body = serde_json::Value),
        RefusalResponses,
    ),
)]
pub(in crate::http) async fn endpoint(
    request: HttpRequest,
    payload: Payload,
    state: Data<HttpState>,
    models: Data<ModelListing>,
) -> HttpResponse {
    let protocol = Mlflow { target: PathTarget::of(&request), models, sagemaker: true };
    exchange::serve(request, payload, &state, protocol).await
}

/// `GET /ping` and `GET /health`: whether the default model answers.
#[utoipa::path(
    get,
    path = "/ping",
    operation_id = "ping",
    tag = "other protocols",
    responses(
        (status = 200, description = "The default model answers"),
        (status = 503, description = "It does not, or this replica takes no requests"),
    ),
)]
pub(in crate::http) async fn ping(state: Data<HttpState>, models: Data<ModelListing>) -> HttpResponse {
    let model = state.check_available().and_then(|()| models.served(models.default_model(), None));
    match model {
        Ok(model) if model.ready => HttpResponse::Ok().content_type("application/json").body("\n"),
        _ => HttpResponse::ServiceUnavailable().content_type("application/json").body("\n"),
    }
}

/// `GET /version`
#[utoipa::path(
    get,
    path = "/version",
    operation_id = "mlflow_version",
    tag = "other protocols",
    responses((status = 200, description = "The version of MLflow whose protocol this is", body = String, content_type = "text/plain")),
)]
pub(in crate::http) async fn version() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(VERSION)
}

struct Mlflow {
    target: PathTarget,
    models: Data<ModelListing>,
    sagemaker: bool,
}

impl Protocol for Mlflow {
    fn route(&self) -> &'static str {
        if self.sagemaker { "/endpoints/{model}/invocations" } else { "/invocations" }
    }

    fn read(&mut self, received: Received<'_>) -> Result<ParsedRequest, HttpRejection> {
        let Received { request, caller, body, max_rows } = received;
        let version = self.target.version.as_deref();
        let name = self.target.model.as_deref().unwrap_or_else(|| self.models.default_model());
        let model = self.models.served_to(caller, name, version)?;
        let (rows, params) = match content_type(request)? {
            Format::Csv => (csv_rows(&body, model.columns(), max_rows)?, BTreeMap::new()),
            Format::Json => json_rows(&body, model.columns(), model.params(), max_rows)?,
        };
        check_columns(&rows, model.columns())?;
        Ok(ParsedRequest { params, ..request_of(&model, version, rows)? })
    }

    fn write(&mut self, rows: RowOutcomes, _: Duration) -> Result<AnswerBody, Problem> {
        let (scores, version) = scores_or_nan(rows, true)?;
        // several outputs are an array, whose names MLflow does not repeat
        let predictions = scores.iter().map(|score| without_names(PredictedValue::from(score))).collect();
        let answer = AnswerJson { predictions };
        let mut body = AnswerBody::json(serde_json::to_vec(&answer).unwrap_or_default());
        if let Some(version) = version.filter(|_| self.sagemaker) {
            let name = HeaderName::from_static("x-amzn-invoked-production-variant");
            body.header = HeaderValue::from_str(&format!("v{version}")).ok().map(|value| (name, value));
        }
        Ok(body)
    }

    fn refuse(&mut self, problem: &Problem, _: Duration) -> Vec<u8> {
        json!({ "error_code": error_code(problem.code), "message": problem.message }).to_string().into_bytes()
    }
}

/// Rows with names must have all columns of the model, as MLflow enforces its schemas; the value of one may be missing.
fn check_columns(rows: &[Row], columns: &[String]) -> Result<(), Problem> {
    // other names have been left out
    let Some(row) = rows.iter().find(|row| !row.names.is_empty() && row.names.len() < columns.len()) else {
        return Ok(());
    };
    let missing: Vec<&String> = columns.iter().filter(|column| !row.names.contains(column)).collect();
    Err(unsuitable(format!("the model is missing inputs: {}", list_names(missing.into_iter(), 10))))
}

enum Format {
    Json,
    Csv,
}

/// The format of the body; JSON if the client does not say.
fn content_type(request: &HttpRequest) -> Result<Format, Problem> {
    let unsupported = |text: String| Problem::new(ErrorCode::UnsupportedMediaType, text);
    let Some(header) = request.headers().get(CONTENT_TYPE) else { return Ok(Format::Json) };
    let mut parts = header.to_str().unwrap_or_default().split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
    for parameter in parts.filter(|part| !part.is_empty()) {
        let charset = parameter.split_once('=').filter(|(name, _)| name.eq_ignore_ascii_case("charset"));
        if charset.is_none_or(|(_, value)| !value.trim_matches('"').eq_ignore_ascii_case("utf-8")) {
            return Err(unsupported("Content-Type: expected no parameter other than charset=utf-8".to_owned()));
        }
    }
    match kind.as_str() {
        "application/json" | "" => Ok(Format::Json),
        "text/csv" => Ok(Format::Csv),
        _ => Err(unsupported("Content-Type: expected application/json or text/csv".to_owned())),
    }
}

/// MLflow's name for an error.
fn error_code(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidRequest | ErrorCode::InvalidFeatures | ErrorCode::UnsupportedMediaType => "BAD_REQUEST",
        ErrorCode::Unauthorized => "UNAUTHENTICATED",
        ErrorCode::Forbidden => "PERMISSION_DENIED",
        ErrorCode::UnknownModel => "RESOURCE_DOES_NOT_EXIST",
        ErrorCode::IdempotencyConflict => "RESOURCE_CONFLICT",
        ErrorCode::PayloadTooLarge | ErrorCode::Overloaded => "REQUEST_LIMIT_EXCEEDED",
        ErrorCode::Unavailable | ErrorCode::ModelUnavailable => "TEMPORARILY_UNAVAILABLE",
        ErrorCode::DeadlineExceeded => "DEADLINE_EXCEEDED",
        ErrorCode::Internal => "INTERNAL_ERROR",
    }
}

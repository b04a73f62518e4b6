//! KServe's first protocol, which is TensorFlow Serving's: `POST /v1/models/{model}:predict`, `GET /v1/models/{model}`.

use std::time::Duration;

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use forebay_contract::{PredictedValue, Problem};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::mlflow_tables::known_params;
use super::rows::TableJson;
use super::{PathTarget, finite_predictions, request_of, scores_of};
use crate::http::exchange::{self, AnswerBody, Protocol, Received, authenticate};
use crate::http::model_list::ModelListing;
use crate::http::schema::RefusalResponses;
use crate::http::state::HttpState;
use crate::http::{json_tokens, open_inference};
use crate::open_inference::invalid;
use crate::pending::RowOutcomes;
use crate::rejection::HttpRejection;
use crate::request::ParsedRequest;

#[derive(Deserialize)]
struct RequestJson {
    #[serde(default)]
    instances: Option<TableJson>,
    #[serde(default)]
    inputs: Option<TableJson>,
    #[serde(default)]
    params: Option<Box<RawValue>>,
}

#[derive(Serialize)]
struct AnswerJson<'s> {
    predictions: Vec<PredictedValue<'s>>,
}

/// The handler of `POST /v1/models/{model}[/versions/{version}]:predict`.
#[utoipa::path(
    post,
    path = "/v1/models/{model}:predict",
    operation_id = "kserve_predict",
    tag = "other protocols",
    request_body(content = serde_json::Value, description = "instances or inputs: rows, or an object of columns"),
    params(("model" = String, Path)),
    responses(
        (status = 200, description = "The predictions", body = serde_json::Value),
        RefusalResponses,
    ),
)]
pub(in crate::http) async fn predict(
    request: HttpRequest,
    payload: Payload,
    state: Data<HttpState>,
    models: Data<ModelListing>,
) -> HttpResponse {
    let protocol = Kserve { target: PathTarget::of(&request), models };
    exchange::serve(request, payload, &state, protocol).await
}

/// The handler of `GET /v1/models/{model}[/versions/{version}]`, with the fields of KServe and of TensorFlow Serving.
#[utoipa::path(
    get,
    path = "/v1/models/{model}",
    operation_id = "kserve_model",
    tag = "other protocols",
    params(("model" = String, Path)),
    responses(
        (status = 200, description = "Whether the model answers", body = serde_json::Value),
        RefusalResponses,
    ),
)]
pub(in crate::http) async fn model(
    request: HttpRequest,
    state: Data<HttpState>,
    models: Data<ModelListing>,
) -> HttpResponse {
    match status(&request, &state, &models).await {
        Ok(status) => HttpResponse::Ok().json(status),
        Err(rejection) => exchange::rejected(&rejection, open_inference::error_json(&rejection.problem)),
    }
}

async fn status(
    request: &HttpRequest,
    state: &HttpState,
    models: &ModelListing,
) -> Result<serde_json::Value, HttpRejection> {
    let caller = authenticate(state, request).await.map_err(|(rejection, _)| rejection)?;
    let PathTarget { model, version } = PathTarget::of(request);
    let served = models.served_to(caller.as_deref(), &model.unwrap_or_default(), version.as_deref())?;
    let available = if served.ready { "AVAILABLE" } else { "LOADING" };
    let status = json!({ "error_code": "OK", "error_message": "" });
    Ok(json!({
        "name": served.name(),
        "ready": served.ready,
        "model_version_status": [{ "version": served.version.to_string(), "state": available, "status": status }],
    }))
}

struct Kserve {
    target: PathTarget,
    models: Data<ModelListing>,
}

impl Protocol for Kserve {
    fn route(&self) -> &'static str {
        "/v1/models/{model}:predict"
    }

    fn read(&mut self, Received { caller, body, max_rows, .. }: Received<'_>) -> Result<ParsedRequest, HttpRejection> {
        let version = self.target.version.as_deref();
        let model = self.models.served_to(caller, self.target.model.as_deref().unwrap_or_default(), version)?;
        let request: RequestJson = json_tokens::parse(&body)?;
        let params = request.params.map(|params| known_params(&params, model.params())).transpose()?;
        let table = match (request.instances, request.inputs) {
            (Some(table), None) | (None, Some(table)) => table,
            _ => return Err(invalid("expected either instances or inputs").into()),
        };
        let request = request_of(&model, version, table.into_rows(&[], max_rows)?)?;
        Ok(ParsedRequest { params: params.unwrap_or_default(), ..request })
    }

    fn write(&mut self, rows: RowOutcomes, _: Duration) -> Result<AnswerBody, Problem> {
        let (scores, _) = scores_of(rows)?;
        let answer = AnswerJson { predictions: finite_predictions(&scores)? };
        Ok(AnswerBody::json(serde_json::to_vec(&answer).unwrap_or_default()))
    }

    fn refuse(&mut self, problem: &Problem, _: Duration) -> Vec<u8> {
        open_inference::error_json(problem)
    }
}

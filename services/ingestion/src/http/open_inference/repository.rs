//! The repository: what it holds, and requests to load and unload models. Which versions are loaded follows the model
//! registry, so a request cannot change it.

use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use forebay_contract::{ErrorCode, Problem};
use serde::Deserialize;
use serde_json::{Value, json};

use super::metadata::find;
use super::rejected;
use crate::http::body;
use crate::http::exchange::authenticate;
use crate::http::model_list::{ModelListing, ServedModel};
use crate::http::schema::RefusalResponses;
use crate::http::state::HttpState;
use crate::open_inference::invalid;
use crate::rejection::HttpRejection;

#[derive(Default, Deserialize)]
struct IndexRequest {
    /// Whether only models that answer are listed.
    #[serde(default)]
    ready: bool,
}

/// `POST /v2/repository/index`
#[utoipa::path(
    post,
    path = "/v2/repository/index",
    operation_id = "repository_index",
    tag = "open inference protocol",
    request_body(content = serde_json::Value, description = "May be empty"),
    responses(
        (status = 200, description = "The models and whether they answer", body = serde_json::Value),
        RefusalResponses,
    ),
)]
pub(in crate::http) async fn index(
    request: HttpRequest,
    payload: Payload,
    state: Data<HttpState>,
    models: Data<ModelListing>,
) -> HttpResponse {
    match list(&request, payload, &state, &models).await {
        Ok(list) => HttpResponse::Ok().json(list),
        Err(rejection) => rejected(rejection),
    }
}

async fn list(
    request: &HttpRequest,
    payload: Payload,
    state: &HttpState,
    models: &ModelListing,
) -> Result<Vec<Value>, HttpRejection> {
    let caller = authenticate(state, request).await.map_err(|(rejection, _)| rejection)?;
    let (body, _permits) = body::read(request, payload, &state.http, &state.limits).await?;
    let IndexRequest { ready } = parse(&body)?;
    let mut entries = Vec::new();
    for name in models.names() {
        if caller.as_ref().is_none_or(|caller| caller.may_use(&name)) {
            let versions = models.served_versions(&name)?;
            entries.extend(versions.iter().filter(|model| model.ready || !ready).map(entry));
        }
    }
    Ok(entries)
}

fn parse(body: &Bytes) -> Result<IndexRequest, Problem> {
    if body.trim_ascii().is_empty() {
        return Ok(IndexRequest::default());
    }
    serde_json::from_slice(body).map_err(|error| invalid(format!("failed to parse the request JSON: {error}")))
}

fn entry(model: &ServedModel) -> Value {
    let (state, reason) = if model.ready { ("READY", "") } else { ("UNAVAILABLE", "no replica has loaded it") };
    json!({ "name": model.name(), "version": model.version.to_string(), "state": state, "reason": reason })
}

/// `POST /v2/repository/models/{model}/load`: succeeds for a model that is served.
pub(super) async fn load(request: HttpRequest, state: Data<HttpState>, models: Data<ModelListing>) -> HttpResponse {
    match find(&request, &state, &models).await {
        Ok(model) if model.ready => HttpResponse::Ok().finish(),
        Ok(model) => rejected(read_only(model.name())),
        Err(rejection) if rejection.problem.code == ErrorCode::UnknownModel => {
            rejected(read_only(request.match_info().query("model")))
        }
        Err(rejection) => rejected(rejection),
    }
}

/// `POST /v2/repository/models/{model}/unload`
pub(super) async fn unload(request: HttpRequest, state: Data<HttpState>) -> HttpResponse {
    match authenticate(&state, &request).await {
        Ok(_) => rejected(read_only(request.match_info().query("model"))),
        Err((rejection, _)) => rejected(rejection),
    }
}

/// Why a model cannot be loaded or unloaded by a request.
pub(crate) fn read_only(model: &str) -> Problem {
    let text =
        format!("model '{model}' cannot be loaded or unloaded here: the served versions follow the model registry");
    Problem::new(ErrorCode::Forbidden, text)
}

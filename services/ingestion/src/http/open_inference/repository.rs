//! The repository: what it holds, and requests to load and unload models.

use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use forebay_contract::Problem;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::rejected;
use super::routes::Target;
use crate::auth::AuthenticatedCaller;
use crate::http::exchange::authenticate;
use crate::http::model_list::{ModelListing, ServedModel};
use crate::http::schema::RefusalResponses;
use crate::http::state::HttpState;
use crate::http::{body, json_tokens};
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
    let (body, _permits) = body::read(request, payload, state, caller.as_deref()).await?;
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

fn parse<T: Default + DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    match body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii() {
        b"" => Ok(T::default()),
        json => json_tokens::parse(json),
    }
}

fn entry(model: &ServedModel) -> Value {
    let (state, reason) = model.repository_state();
    json!({ "name": model.name(), "version": model.version.to_string(), "state": state, "reason": reason })
}

#[derive(Default, Deserialize)]
struct ChangeRequest {
    #[serde(default)]
    parameters: serde_json::Map<String, Value>,
}

/// `POST /v2/repository/models/{model}/load`
#[utoipa::path(
    post,
    path = "/v2/repository/models/{model}/load",
    operation_id = "repository_model_load",
    tag = "open inference protocol",
    params(("model" = String, Path)),
    request_body(content = serde_json::Value, description = "May be empty"),
    responses(
        (status = 200, description = "Every replica serves the model"),
        RefusalResponses,
    ),
)]
pub(in crate::http) async fn load(
    request: HttpRequest,
    payload: Payload,
    state: Data<HttpState>,
    models: Data<ModelListing>,
) -> HttpResponse {
    let loaded = async {
        let (caller, ChangeRequest { parameters }) = read_change(&request, payload, &state).await?;
        models.load(caller.as_deref(), &Target::of(&request).model, parameters.keys().next()).await
    };
    finish(loaded.await)
}

/// `POST /v2/repository/models/{model}/unload`
#[utoipa::path(
    post,
    path = "/v2/repository/models/{model}/unload",
    operation_id = "repository_model_unload",
    tag = "open inference protocol",
    params(("model" = String, Path)),
    request_body(content = serde_json::Value, description = "May be empty"),
    responses(
        (status = 200, description = "No replica serves the model"),
        RefusalResponses,
    ),
)]
pub(in crate::http) async fn unload(
    request: HttpRequest,
    payload: Payload,
    state: Data<HttpState>,
    models: Data<ModelListing>,
) -> HttpResponse {
    let unloaded = async {
        // no model depends on another one, so `unload_dependents` changes nothing
        let (caller, _) = read_change(&request, payload, &state).await?;
        models.unload(caller.as_deref(), &Target::of(&request).model).await
    };
    finish(unloaded.await)
}

async fn read_change(
    request: &HttpRequest,
    payload: Payload,
    state: &HttpState,
) -> Result<(AuthenticatedCaller, ChangeRequest), HttpRejection> {
    let caller = authenticate(state, request).await.map_err(|(rejection, _)| rejection)?;
    let (body, _permits) = body::read(request, payload, state, caller.as_deref()).await?;
    Ok((caller, parse(&body)?))
}

fn finish(done: Result<(), HttpRejection>) -> HttpResponse {
    done.map_or_else(rejected, |()| HttpResponse::Ok().finish())
}

//! Health, metadata and configuration.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use forebay_contract::{ErrorCode, Problem};
use serde::Serialize;
use serde_json::{Value, json};

use super::rejected;
use super::routes::Target;
use crate::http::exchange::authenticate;
use crate::http::model_list::{ModelListing, ServedModel};
use crate::http::schema::RefusalResponses;
use crate::http::state::HttpState;
use crate::open_inference::{TensorDescription, describe_tensors};
use crate::rejection::HttpRejection;

/// What this server has beside the six calls of the standard.
pub(super) const EXTENSIONS: [&str; 7] = [
    "binary_tensor_data",
    "binary_tensor_data(raw_request)",
    "classification",
    "model_configuration",
    "model_repository",
    "schedule_policy",
    "statistics",
];

/// A tensor in metadata; `-1` is any size.
#[derive(Debug, Serialize)]
struct TensorMetadata {
    name: String,
    datatype: &'static str,
    shape: Vec<i64>,
}

#[derive(Debug, Serialize)]
struct ModelMetadata<'m> {
    name: &'m str,
    versions: Vec<String>,
    platform: &'m str,
    inputs: Vec<TensorMetadata>,
    outputs: Vec<TensorMetadata>,
}

/// `GET /v2/health/live`
#[utoipa::path(
    get,
    path = "/v2/health/live",
    operation_id = "server_live",
    tag = "open inference protocol",
    responses((status = 200, description = "This replica runs", body = serde_json::Value)),
)]
pub(in crate::http) async fn live() -> HttpResponse {
    HttpResponse::Ok().json(json!({ "live": true }))
}

/// `GET /v2/health/ready`: whether this replica takes requests, and the default model answers them.
#[utoipa::path(
    get,
    path = "/v2/health/ready",
    operation_id = "server_ready",
    tag = "open inference protocol",
    responses(
        (status = 200, description = "It takes requests, and the default model answers them", body = serde_json::Value),
        (status = 503, description = "Not now; see Retry-After", body = serde_json::Value),
    ),
)]
pub(in crate::http) async fn ready(state: Data<HttpState>, models: Data<ModelListing>) -> HttpResponse {
    let checked = state.check_available().and_then(|()| models.served(models.default_model(), None));
    match checked.and_then(|model| check_ready(&model)) {
        Ok(()) => HttpResponse::Ok().json(json!({ "ready": true })),
        Err(problem) => rejected(Problem::new(ErrorCode::Unavailable, problem.message)),
    }
}

/// `GET /v2`
#[utoipa::path(
    get,
    path = "/v2",
    operation_id = "server_metadata",
    tag = "open inference protocol",
    responses(
        (status = 200, description = "Name, version and extensions of the server", body = serde_json::Value),
        RefusalResponses,
    ),
)]
pub(in crate::http) async fn server(request: HttpRequest, state: Data<HttpState>) -> HttpResponse {
    match authenticate(&state, &request).await {
        Ok(_) => HttpResponse::Ok().json(json!({
            "name": "forebay",
            "version": env!("CARGO_PKG_VERSION"),
            "extensions": EXTENSIONS,
        })),
        Err((rejection, _)) => rejected(rejection),
    }
}

/// `GET /v2/models/{model}[/versions/{version}]/ready`
#[utoipa::path(
    get,
    path = "/v2/models/{model}/ready",
    operation_id = "model_ready",
    tag = "open inference protocol",
    params(("model" = String, Path)),
    responses(
        (status = 200, description = "The model answers", body = serde_json::Value),
        RefusalResponses,
    ),
)]
pub(in crate::http) async fn model_ready(
    request: HttpRequest,
    state: Data<HttpState>,
    models: Data<ModelListing>,
) -> HttpResponse {
    match find(&request, &state, &models).await {
        Ok(model) => match check_ready(&model) {
            Ok(()) => HttpResponse::Ok().json(json!({ "name": model.name(), "ready": true })),
            Err(problem) => rejected(problem),
        },
        Err(rejection) => rejected(rejection),
    }
}

/// `GET /v2/models/{model}[/versions/{version}]`
#[utoipa::path(
    get,
    path = "/v2/models/{model}",
    operation_id = "model_metadata",
    tag = "open inference protocol",
    params(("model" = String, Path)),
    responses(
        (status = 200, description = "Versions, inputs and outputs of the model", body = serde_json::Value),
        RefusalResponses,
    ),
)]
pub(in crate::http) async fn model(
    request: HttpRequest,
    state: Data<HttpState>,
    models: Data<ModelListing>,
) -> HttpResponse {
    match find(&request, &state, &models).await {
        Ok(model) => HttpResponse::Ok().json(metadata(&model)),
        Err(rejection) => rejected(rejection),
    }
}

/// `GET /v2/models/{model}[/versions/{version}]/config`
#[utoipa::path(
    get,
    path = "/v2/models/{model}/config",
    operation_id = "model_config",
    tag = "open inference protocol",
    params(("model" = String, Path)),
    responses(
        (status = 200, description = "The configuration of the model in Triton's form", body = serde_json::Value),
        RefusalResponses,
    ),
)]
pub(in crate::http) async fn config(
    request: HttpRequest,
    state: Data<HttpState>,
    models: Data<ModelListing>,
) -> HttpResponse {
    match find(&request, &state, &models).await {
        Ok(model) => HttpResponse::Ok().json(configuration(&model, state.http.max_rows)),
        Err(rejection) => rejected(rejection),
    }
}

/// The model that the path names, for a caller that may use it.
pub(super) async fn find(
    request: &HttpRequest,
    state: &HttpState,
    models: &ModelListing,
) -> Result<ServedModel, HttpRejection> {
    let caller = authenticate(state, request).await.map_err(|(rejection, _)| rejection)?;
    let Target { model, version } = Target::of(request);
    models.served_to(caller.as_deref(), &model, version.as_deref())
}

fn check_ready(model: &ServedModel) -> Result<(), Problem> {
    if model.ready {
        return Ok(());
    }
    let text = format!("no replica has loaded model '{}' version {}", model.name(), model.version);
    Err(Problem::new(ErrorCode::Unavailable, text))
}

fn metadata(model: &ServedModel) -> ModelMetadata<'_> {
    let (inputs, outputs) = describe_tensors(model.format());
    let tensor =
        |TensorDescription { name, datatype, shape }| TensorMetadata { name, datatype: datatype.name(), shape };
    ModelMetadata {
        name: model.name(),
        versions: model.versions().map(|version| version.to_string()).collect(),
        platform: model.flavor(),
        inputs: inputs.into_iter().map(tensor).collect(),
        outputs: outputs.into_iter().map(tensor).collect(),
    }
}

/// The configuration in Triton's form. The first dimension of every tensor is the batch and is left out of `dims`.
fn configuration(model: &ServedModel, max_rows: usize) -> Value {
    let (inputs, outputs) = describe_tensors(model.format());
    let tensor = |tensor: &TensorDescription| {
        let datatype = tensor.datatype.config_name();
        match &tensor.shape[1..] {
            // dims may not be empty
            [] => json!({ "name": tensor.name, "data_type": datatype, "dims": [1], "reshape": { "shape": [] } }),
            dims => json!({ "name": tensor.name, "data_type": datatype, "dims": dims }),
        }
    };
    json!({
        "name": model.name(),
        "platform": model.flavor(),
        "backend": "forebay",
        "version_policy": { "all": {} },
        "max_batch_size": max_rows,
        "input": inputs.iter().map(tensor).collect::<Vec<_>>(),
        "output": outputs.iter().map(tensor).collect::<Vec<_>>(),
    })
}

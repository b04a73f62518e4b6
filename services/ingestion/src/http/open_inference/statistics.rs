//! `GET /v2/models/stats` and `GET /v2/models/{model}[/versions/{version}]/stats`: counts of requests at this replica.
//! Rows are scored by other replicas, so the time of a request is given as that of the inference, and none as waiting.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::metadata::find;
use super::rejected;
use super::routes::Target;
use crate::http::exchange::authenticate;
use crate::http::model_list::{ModelListing, ServedModel};
use crate::http::schema::RefusalResponses;
use crate::http::state::HttpState;
use crate::open_inference::ModelCounts;

/// The handler for all models.
#[utoipa::path(
    get,
    path = "/v2/models/stats",
    operation_id = "statistics",
    tag = "open inference protocol",
    responses(
        (status = 200, description = "Counts of requests at this replica, for every model", body = serde_json::Value),
        RefusalResponses,
    ),
)]
pub(in crate::http) async fn all(
    request: HttpRequest,
    state: Data<HttpState>,
    models: Data<ModelListing>,
) -> HttpResponse {
    let caller = match authenticate(&state, &request).await {
        Ok(caller) => caller,
        Err((rejection, _)) => return rejected(rejection),
    };
    let mut found = Vec::new();
    for name in models.names() {
        if caller.as_ref().is_none_or(|caller| caller.may_use(&name)) {
            found.extend(models.served_versions(&name).unwrap_or_default());
        }
    }
    HttpResponse::Ok().json(document(&found, &state))
}

/// The handler for one model.
#[utoipa::path(
    get,
    path = "/v2/models/{model}/stats",
    operation_id = "model_statistics",
    tag = "open inference protocol",
    params(("model" = String, Path)),
    responses(
        (status = 200, description = "Counts of requests at this replica", body = serde_json::Value),
        RefusalResponses,
    ),
)]
pub(in crate::http) async fn model(
    request: HttpRequest,
    state: Data<HttpState>,
    models: Data<ModelListing>,
) -> HttpResponse {
    let found = match find(&request, &state, &models).await {
        Ok(found) => found,
        Err(rejection) => return rejected(rejection),
    };
    let versions = match Target::of(&request).version {
        Some(_) => vec![found],
        None => models.served_versions(found.name()).unwrap_or_default(),
    };
    HttpResponse::Ok().json(document(&versions, &state))
}

fn document(versions: &[ServedModel], state: &HttpState) -> Value {
    let entry = |model: &ServedModel| entry(model, state.statistics.of(model.name(), model.version));
    json!({ "model_stats": versions.iter().filter(|model| model.ready).map(entry).collect::<Vec<_>>() })
}

fn entry(model: &ServedModel, counts: ModelCounts) -> Value {
    let duration = |count: u64, ns: u64| json!({ "count": count, "ns": ns });
    json!({
        "name": model.name(),
        "version": model.version.to_string(),
        "last_inference": counts.last_ms,
        "inference_count": counts.inferences,
        "execution_count": counts.executions,
        "inference_stats": {
            "success": duration(counts.successes, counts.success_ns),
            "fail": duration(counts.failures, counts.failure_ns),
            "queue": duration(counts.successes, 0),
            "compute_input": duration(counts.executions, 0),
            "compute_infer": duration(counts.executions, counts.execution_ns),
            "compute_output": duration(counts.executions, 0),
            "cache_hit": duration(counts.cache_hits, 0),
            "cache_miss": duration(counts.inferences, 0),
        },
        "batch_stats": [],
    })
}

//! `GET /v1/models`: what can be asked, which version answers, and which replicas have it.

use actix_web::{HttpResponse, web};
use forebay_contract::{ErrorCode, Problem};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::ErrorBody;
use super::catalog::{Catalog, ModelList};

/// An error outside of a prediction.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlainError {
    pub error: ErrorBody,
}

impl PlainError {
    pub(super) fn new(problem: Problem) -> Self {
        Self { error: ErrorBody { code: problem.code.to_string(), message: problem.message } }
    }
}

/// The handler.
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "models",
    responses(
        (status = 200, description = "Models, their versions, what they take and which replicas have them", body = ModelList),
        (status = 503, description = "unavailable: no prediction replica has told yet", body = PlainError),
    ),
)]
pub(super) async fn models(catalog: web::Data<Catalog>) -> HttpResponse {
    if let Some(listing) = catalog.list() {
        return HttpResponse::Ok().json(listing);
    }
    let problem = Problem::new(ErrorCode::Unavailable, "no prediction replica has told yet what the registry holds");
    HttpResponse::ServiceUnavailable().insert_header(("Retry-After", "1")).json(PlainError::new(problem))
}

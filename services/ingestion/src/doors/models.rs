//! `GET /v1/models`: what can be asked, which version answers, and which replicas have it.

use actix_web::http::StatusCode;
use actix_web::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpRequest, HttpResponse, web};
use forebay_contract::{ErrorCode, Problem, now_us};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::ErrorBody;
use super::catalog::{Catalog, ModelList};
use super::credentials::credentials;
use super::predict::PredictDoor;
use crate::refusal::Refusal;

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
        (status = 401, description = "unauthorized: no or wrong credentials; see WWW-Authenticate", body = PlainError),
        (status = 403, description = "forbidden: credentials that do not allow this", body = PlainError),
        (status = 429, description = "overloaded; see Retry-After", body = PlainError),
        (status = 503, description = "unavailable: no prediction replica has told yet", body = PlainError),
    ),
)]
pub(super) async fn models(
    request: HttpRequest,
    catalog: web::Data<Catalog>,
    door: web::Data<PredictDoor>,
) -> HttpResponse {
    let caller = match door.gate.admit(credentials(request.headers()), now_us() / 1_000_000).await {
        Ok(caller) => caller,
        Err((refusal, _)) => return refused(refusal),
    };
    let Some(mut listing) = catalog.list() else {
        let message = "no prediction replica has told yet what the registry holds";
        return refused(Refusal::new(ErrorCode::Unavailable, message));
    };
    if let Some(caller) = caller {
        listing.models.retain(|model| caller.sees(&model.name));
    }
    HttpResponse::Ok().json(listing)
}

fn refused(refusal: Refusal) -> HttpResponse {
    let status = refusal.problem.code.status();
    let mut response = HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
    if matches!(status, 429 | 503) {
        response.insert_header((RETRY_AFTER, refusal.retry_seconds()));
    }
    if let Some(challenge) = refusal.challenge {
        response.insert_header((WWW_AUTHENTICATE, challenge));
    }
    response.json(PlainError::new(refusal.problem))
}

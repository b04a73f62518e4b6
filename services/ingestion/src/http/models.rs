//! `GET /v1/models`: the models, the version that answers, and the replicas that have loaded it.

use actix_web::{HttpRequest, HttpResponse, web};
use forebay_contract::{ErrorCode, ErrorDetail, Problem, now_us};
use serde::Serialize;
use utoipa::ToSchema;

use super::content_coding;
use super::credentials::credentials;
use super::model_list::{ModelEntry, ModelList, ModelListing};
use super::response_head::rejected_head;
use super::schema::ErrorBody;
use super::state::HttpState;
use crate::rejection::HttpRejection;

/// The body of an error, outside of predictions.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlainError {
    #[schema(value_type = ErrorBody)]
    pub error: ErrorDetail<'static>,
}

impl From<Problem> for PlainError {
    fn from(problem: Problem) -> Self {
        Self { error: problem.into() }
    }
}

/// The handler.
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "models",
    responses(
        (status = 200, description = "Models, their versions, the rows they accept and the replicas that have loaded them", body = ModelList),
        (status = 401, description = "unauthorized: missing or invalid credentials; see WWW-Authenticate", body = PlainError),
        (status = 403, description = "forbidden: the credentials do not allow this", body = PlainError),
        (status = 429, description = "overloaded; see Retry-After", body = PlainError),
        (status = 503, description = "unavailable: no prediction replica has reported yet", body = PlainError),
    ),
)]
pub(super) async fn models(
    request: HttpRequest,
    listing: web::Data<ModelListing>,
    state: web::Data<HttpState>,
) -> HttpResponse {
    let now_s = now_us() / 1_000_000;
    let caller = match state.authenticator.authenticate(credentials(request.headers()), now_s).await {
        Ok(caller) => caller,
        Err((rejection, _)) => return rejected(rejection),
    };
    let Some(mut list) = listing.list() else {
        let message = "no prediction replica has reported yet what the registry holds";
        return rejected(HttpRejection::new(ErrorCode::Unavailable, message));
    };
    if let Some(caller) = caller {
        list.models.retain(|model| caller.may_use(&model.name));
        if !caller.is_admin() {
            list.models.iter_mut().for_each(ModelEntry::hide_reasons);
        }
    }
    content_coding::send_json(HttpResponse::Ok(), request.headers(), &list)
}

/// The answer to a request that is rejected.
pub(super) fn rejected(rejection: HttpRejection) -> HttpResponse {
    let mut response = rejected_head(rejection.problem.code.status(), Some(&rejection));
    response.json(PlainError::from(rejection.problem))
}

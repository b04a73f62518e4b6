//! `Prefer: respond-async` of `POST /v1/predict`, and `GET /v1/results/{id}`.

mod later;
mod leases;
mod preference;

use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, HeaderMap, HeaderName, LOCATION, RETRY_AFTER};
use actix_web::web::{Data, Path, Query};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use forebay_contract::{ErrorCode, Problem};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use utoipa::{IntoParams, ToSchema};

pub(super) use later::{LaterAnswer, LaterRequest};
pub(super) use leases::renew_leases;
pub(super) use preference::Preference;

use super::content_coding;
use super::exchange::identify;
use super::models::{PlainError, rejected};
use super::response::ErrorAnswer;
use super::response_head::rejected_head;
use super::schema::PredictAnswer;
use super::state::HttpState;
use crate::async_results::{ResultId, StoredAnswer, StoredResult};
use crate::auth::Caller;
use crate::rejection::HttpRejection;

/// Path of the handler.
pub(super) const ROUTE: &str = "/v1/results/{id}";
const RESULT: HeaderName = HeaderName::from_static("x-forebay-result");
/// Most requests that may wait for an answer; others are answered at once.
const MAX_WAITING: usize = 256;
const CALLBACK: HeaderName = HeaderName::from_static("x-forebay-callback");
const MAX_CALLBACK_BYTES: usize = 2048;
/// Longest time that a request may wait for an answer.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Time between two looks into the store: the first, and the longest.
const POLL: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(250));

/// The answer comes later.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PendingAnswer {
    /// Identifies the result. Whoever has it and the credentials of the request can read the answer.
    pub result_id: String,
    /// Always `pending`.
    pub status: &'static str,
    /// Where the answer will be.
    pub location: String,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ResultQuery {
    /// How many seconds to wait for the answer, at most 60.
    wait: Option<f64>,
}

/// The handler.
#[utoipa::path(
    get,
    path = "/v1/results/{id}",
    tag = "predict",
    params(("id" = String, Path, description = "As Location of the request named it"), ResultQuery),
    responses(
        (status = 200, description = "The answer, as POST /v1/predict would have given it", body = PredictAnswer),
        (status = 202, description = "There is no answer yet; see Retry-After", body = PendingAnswer),
        (status = 400, description = "invalid_request, or the answer is such an error", body = ErrorAnswer),
        (status = 401, description = "unauthorized: missing or invalid credentials; see WWW-Authenticate", body = PlainError),
        (status = 403, description = "forbidden: the credentials do not allow this", body = PlainError),
        (status = 404, description = "There is no such result, or not any more, or other credentials asked for it", body = PlainError),
        (status = 429, description = "overloaded; see Retry-After", body = PlainError),
        (status = 503, description = "unavailable: the store of results does not answer", body = PlainError),
    ),
)]
pub(super) async fn result(
    request: HttpRequest,
    id: Path<String>,
    query: Result<Query<ResultQuery>, actix_web::Error>,
    state: Data<HttpState>,
) -> HttpResponse {
    match find(&request, &id, query, &state).await {
        Ok(Some((_, Some(answer)))) => stored(&answer, request.headers()),
        Ok(Some((id, None))) => pending(rejected_head(202, None), id),
        Ok(None) => {
            let problem = Problem::new(ErrorCode::InvalidRequest, "there is no such result, or not any more");
            HttpResponse::NotFound().json(PlainError::from(problem))
        }
        Err(rejection) => rejected(rejection),
    }
}

/// The result that the caller may see, and its answer if that came in time; `None` if there is none.
async fn find(
    request: &HttpRequest,
    id: &str,
    query: Result<Query<ResultQuery>, actix_web::Error>,
    state: &HttpState,
) -> Result<Option<(ResultId, Option<StoredAnswer>)>, HttpRejection> {
    let _permit = state.limits.acquire_request()?;
    let caller = identify(state, request).await.map_err(|(rejection, _)| rejection)?;
    let owner = caller.as_deref().map_or("", Caller::identity);
    let wait = query.ok().and_then(|query| query.wait.map_or(Some(0.0), |wait| Some(wait).filter(|wait| *wait >= 0.0)));
    let wait = wait.ok_or_else(|| Problem::new(ErrorCode::InvalidRequest, "wait: expected a number of seconds"))?;
    let wait = MAX_WAIT.mul_f64((wait / MAX_WAIT.as_secs_f64()).min(1.0));
    let (Some(id), Some(results)) = (ResultId::parse(id), &state.async_results) else { return Ok(None) };
    static WAITING: Semaphore = Semaphore::const_new(MAX_WAITING);
    let place = WAITING.try_acquire();
    let wait = if place.is_ok() { wait } else { Duration::ZERO };
    let (began, mut pause) = (Instant::now(), POLL.0);
    loop {
        match results.find(id, owner).await? {
            None => return Ok(None),
            Some(StoredResult::Answered(answer)) => return Ok(Some((id, Some(answer)))),
            Some(StoredResult::Pending) if began.elapsed() >= wait || state.lifecycle.is_draining() => {
                return Ok(Some((id, None)));
            }
            Some(StoredResult::Pending) => {
                tokio::time::sleep(pause.min(wait.saturating_sub(began.elapsed()))).await;
                pause = (pause * 2).min(POLL.1);
            }
        }
    }
}

/// An answer as it was stored.
fn stored(answer: &StoredAnswer, request: &HeaderMap) -> HttpResponse {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    response.content_type("application/json").insert_header((CACHE_CONTROL, "no-store"));
    // tells an error that is the answer from one about the request for it
    response.insert_header((RESULT, "answered"));
    match status.is_success() {
        true => content_coding::send(response, request, answer.json.clone()),
        false => response.body(answer.json.clone()),
    }
}

/// The answer that the result `id` is not there yet.
fn pending(mut response: HttpResponseBuilder, id: ResultId) -> HttpResponse {
    let location = id.location();
    response.insert_header((LOCATION, location.as_str())).insert_header((RETRY_AFTER, 1));
    response.insert_header((CACHE_CONTROL, "no-store"));
    response.json(PendingAnswer { result_id: id.to_string(), status: "pending", location })
}

/// Where the caller wants its answer posted, by the header or the `field` of the body.
///
/// # Errors
/// `invalid_request` if the header is no text, if the two differ, or if every request is answered on its connection.
pub(super) fn callback(
    headers: &HeaderMap,
    field: Option<String>,
    state: &HttpState,
) -> Result<Option<String>, Problem> {
    let invalid = |text: String| Problem::new(ErrorCode::InvalidRequest, text);
    let header = match headers.get(CALLBACK) {
        Some(url) => {
            let text = url.to_str().ok().filter(|url| url.len() <= MAX_CALLBACK_BYTES);
            let expected =
                || invalid(format!("X-Forebay-Callback: expected an address of at most {MAX_CALLBACK_BYTES} bytes"));
            Some(text.ok_or_else(expected)?.to_owned())
        }
        None => None,
    };
    if header.is_some() && field.is_some() && header != field {
        return Err(invalid("callback_url: differs from the header X-Forebay-Callback".to_owned()));
    }
    let callback = header.or(field);
    if callback.is_some() && state.async_results.is_none() {
        return Err(invalid("callback_url: answers are kept nowhere here (async.store)".to_owned()));
    }
    Ok(callback)
}

/// Refuses a callback over a protocol that has none: whoever waits for the call would wait for ever.
///
/// # Errors
/// `invalid_request` if the header is there.
pub(super) fn refuse_callback(headers: &HeaderMap) -> Result<(), Problem> {
    if !headers.contains_key(CALLBACK) {
        return Ok(());
    }
    let text = "X-Forebay-Callback: only requests to /v1/predict are answered later";
    Err(Problem::new(ErrorCode::InvalidRequest, text))
}

//! `POST /v1/predict`: one row or many, answered by the mesh.

use std::sync::Arc;

use actix_web::http::header::HeaderMap;
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use forebay_contract::wire::outcome::Result as RowResult;
use forebay_contract::{ErrorCode, Problem, SplitKey, machine_us, now_us};
use forebay_runtime::TraceContext;

use super::async_results::{self, LaterAnswer, LaterRequest, PendingAnswer, Preference};
use super::body;
use super::content_coding;
use super::credentials::credentials;
use super::response::{AnswerHead, ErrorAnswer, PredictResponse};
use super::response_head::response_head;
use super::schema::{PredictAnswer, PredictRequest};
use super::span::RequestSpan;
use super::state::HttpState;
use super::submission::{Arrival, submit};
use crate::auth::Caller;
use crate::parse;
use crate::pending::RowOutcomes;
use crate::rejection::HttpRejection;

/// Path of this handler.
pub(super) const ROUTE: &str = "/v1/predict";
const MAX_KEY_BYTES: usize = 255;

/// The handler.
#[utoipa::path(
    post,
    path = "/v1/predict",
    tag = "predict",
    request_body = PredictRequest,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Identifies the request: the same key and payload get the same answer again"),
        ("Prefer" = Option<String>, Header, description = "respond-async: answer at once with the place of a later answer (RFC 7240); wait=N: after N seconds"),
        ("X-Forebay-Callback" = Option<String>, Header, description = "Where the answer is posted as well (Standard Webhooks); answered like respond-async"),
        ("X-Forebay-Key" = Option<String>, Header, description = "Like the field key, which takes precedence"),
        ("traceparent" = Option<String>, Header, description = "W3C trace context; the mesh continues the trace"),
    ),
    responses(
        (status = 200, description = "One prediction, or one for each row", body = PredictAnswer),
        (status = 202, description = "With Prefer: respond-async: the answer comes later, at Location", body = PendingAnswer),
        (status = 400, description = "invalid_request, invalid_features", body = ErrorAnswer),
        (status = 401, description = "unauthorized: missing or invalid credentials; see WWW-Authenticate", body = ErrorAnswer),
        (status = 403, description = "forbidden: the credentials do not allow this", body = ErrorAnswer),
        (status = 404, description = "unknown_model", body = ErrorAnswer),
        (status = 409, description = "idempotency_conflict", body = ErrorAnswer),
        (status = 413, description = "payload_too_large", body = ErrorAnswer),
        (status = 415, description = "unsupported_media_type: a Content-Encoding other than gzip, deflate and zstd", body = ErrorAnswer),
        (status = 429, description = "overloaded; see Retry-After", body = ErrorAnswer),
        (status = 500, description = "internal", body = ErrorAnswer),
        (status = 503, description = "unavailable, model_unavailable; see Retry-After", body = ErrorAnswer),
        (status = 504, description = "deadline_exceeded", body = ErrorAnswer),
    ),
)]
pub(super) async fn predict(request: HttpRequest, payload: Payload, state: Data<HttpState>) -> HttpResponse {
    let arrived_us = now_us();
    let scheme = if state.http.tls.is_on() { "https" } else { "http" };
    let mut span = RequestSpan::open(&state.tracer, request.headers(), ROUTE, scheme, arrived_us);
    let mut head = AnswerHead { arrived_us, trace_id: span.trace_id(), ..AnswerHead::default() };
    let (answered, caller) = authenticate_and_answer(&state, &request, payload, span.context(), &mut head).await;
    let caller = caller.as_deref().map(Caller::name);
    let ended_us = now_us();
    head.latency_us = ended_us.saturating_sub(arrived_us);
    if let Some(request_id) = &head.request_id {
        span.set("forebay.request_id", request_id.clone());
    }
    if let Some(name) = caller {
        span.set("forebay.caller", name.to_owned());
    }
    let mut rejection = None;
    let answer = match answered {
        Ok(Answered::Rows(rows, many)) => {
            span.set("forebay.rows", i64::try_from(rows.len()).unwrap_or(i64::MAX));
            response_of(&mut head, span.context(), Ok(rows), many)
        }
        Ok(Answered::Later(later)) => {
            let response = later.response(&state, request.headers(), &span);
            span.end(response.status().as_u16(), None, ended_us);
            return response;
        }
        Err(rejected) => {
            let problem = rejected.problem.clone();
            if !rejected.limit_exceeded {
                state.count_rejection(&problem);
            }
            if !state.rejections.report(span.context(), ROUTE, caller, &problem, arrived_us, ended_us) {
                span.discard();
            }
            head.trace_id = Some(span.context().trace_id_hex().to_string());
            rejection = Some(rejected);
            PredictResponse::of_problem(&head, problem)
        }
    };
    let mut response = response_head(&state, request.headers(), &span, answer.status(), rejection.as_ref());
    span.end(answer.status(), answer.code, ended_us);
    match answer.code {
        None => content_coding::send(response, request.headers(), answer.json),
        Some(_) => response.body(answer.json),
    }
}

/// What becomes of a request that is accepted.
enum Answered {
    /// The rows of the answer, and whether the request had many.
    Rows(RowOutcomes, bool),
    /// The answer comes later.
    Later(LaterAnswer),
}

/// The answer to a request of `many` rows or one, by the outcomes of its rows.
pub(super) fn response_of(
    head: &mut AnswerHead,
    trace: TraceContext,
    outcomes: Result<RowOutcomes, Problem>,
    many: bool,
) -> PredictResponse {
    match outcomes {
        Ok(rows) => {
            if rows.iter().any(|row| matches!(row.result, Some(RowResult::Failure(_)))) {
                // a failed request has spans and a log line even if it was not sampled
                head.trace_id = Some(trace.trace_id_hex().to_string());
            }
            PredictResponse::of_rows(head, rows, many)
        }
        Err(problem) => PredictResponse::of_problem(head, problem),
    }
}

/// What becomes of the request, with the caller if it is known.
async fn authenticate_and_answer(
    state: &Data<HttpState>,
    request: &HttpRequest,
    payload: Payload,
    trace: TraceContext,
    head: &mut AnswerHead,
) -> (Result<Answered, HttpRejection>, Option<Arc<Caller>>) {
    let _permit = match state.limits.acquire_request() {
        Ok(permit) => permit,
        Err(problem) => return (Err(problem.into()), None),
    };
    // not the corrected time: whether a token is valid is not for a broker to decide
    let now_s = machine_us() / 1_000_000;
    match state.authenticator.authenticate(credentials(request.headers()), now_s).await {
        Ok(caller) => (answer(state, request, payload, trace, head, caller.as_deref()).await, caller),
        Err((rejection, caller)) => (Err(rejection), caller),
    }
}

async fn answer(
    state: &Data<HttpState>,
    request: &HttpRequest,
    payload: Payload,
    trace: TraceContext,
    head: &mut AnswerHead,
    caller: Option<&Caller>,
) -> Result<Answered, HttpRejection> {
    state.check_available()?;
    let (body, body_permits) = body::read(request, payload, state, caller).await?;
    let mut parsed = parse::parse_http(&body, state.http.max_rows).inspect_err(|_| {
        head.request_id = parse::recover_request_id(&body);
    })?;
    head.request_id.clone_from(&parsed.request_id);
    head.version.clone_from(&parsed.version);
    let split_key = match parsed.key {
        Some(_) => None,
        None => key_header(request.headers(), "x-forebay-key", "X-Forebay-Key")?,
    };
    parsed.key = parsed.key.or_else(|| split_key.as_deref().map(SplitKey::of_text));
    let key = key_header(request.headers(), "idempotency-key", "Idempotency-Key")?;
    let arrival = Arrival { caller, idempotency_key: key.as_deref(), trace, arrived_us: head.arrived_us };
    let preference = Preference::of(request.headers());
    let callback = async_results::callback(request.headers(), parsed.callback_url.take(), state)?;
    if let Some(results) = state.async_results.as_ref().filter(|_| preference.respond_async || callback.is_some()) {
        let later = LaterRequest { parsed, head: head.clone(), body, split_key, callback };
        return Ok(Answered::Later(later.submit(state, results, arrival, preference.wait).await?));
    }
    drop((body, body_permits));
    let many = parsed.features.many();
    Ok(Answered::Rows(submit(state, parsed, arrival).await?, many))
}

/// A key that the client chose, from the header `name`; error messages spell it `shown`.
pub(super) fn key_header(headers: &HeaderMap, name: &str, shown: &str) -> Result<Option<String>, Problem> {
    let Some(key) = headers.get(name) else { return Ok(None) };
    let text = key.to_str().ok().map(str::trim).filter(|key| (1..=MAX_KEY_BYTES).contains(&key.len()));
    let invalid = || {
        let message = format!("{shown}: expected 1 to {MAX_KEY_BYTES} visible ASCII characters");
        Problem::new(ErrorCode::InvalidRequest, message)
    };
    text.map(|key| Some(key.to_owned())).ok_or_else(invalid)
}

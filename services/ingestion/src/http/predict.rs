//! `POST /v1/predict`: one row or many, answered by the mesh.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use forebay_bus::{Ack, AckOutcome};
use forebay_contract::wire::outcome::Result as RowResult;
use forebay_contract::{ErrorCode, Lane, Origin, Problem, RequestId, SplitKey, machine_us, now_us};
use forebay_runtime::TraceContext;

use super::body;
use super::credentials::credentials;
use super::limits::RowPermits;
use super::response::{AnswerHead, ErrorAnswer, PredictResponse};
use super::schema::{PredictAnswer, PredictRequest};
use super::span::RequestSpan;
use super::state::HttpState;
use crate::admission::RequestAdmission;
use crate::auth::Caller;
use crate::batching::PendingItems;
use crate::parse;
use crate::pending::{CallerReply, RowOutcomes};
use crate::rejection::HttpRejection;
use crate::request::ParsedRequest;

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
        ("X-Forebay-Key" = Option<String>, Header, description = "Like the field key, which takes precedence"),
        ("traceparent" = Option<String>, Header, description = "W3C trace context; the mesh continues the trace"),
    ),
    responses(
        (status = 200, description = "One prediction, or one for each row", body = PredictAnswer),
        (status = 400, description = "invalid_request, invalid_features", body = ErrorAnswer),
        (status = 401, description = "unauthorized: missing or invalid credentials; see WWW-Authenticate", body = ErrorAnswer),
        (status = 403, description = "forbidden: the credentials do not allow this", body = ErrorAnswer),
        (status = 404, description = "unknown_model", body = ErrorAnswer),
        (status = 409, description = "idempotency_conflict", body = ErrorAnswer),
        (status = 413, description = "payload_too_large", body = ErrorAnswer),
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
        Ok((rows, many)) => {
            span.set("forebay.rows", i64::try_from(rows.len()).unwrap_or(i64::MAX));
            if rows.iter().any(|row| matches!(row.result, Some(RowResult::Failure(_)))) {
                // a failed request has spans and a log line even if it was not sampled
                head.trace_id = Some(span.context().trace_id_hex().to_string());
            }
            PredictResponse::of_rows(&head, rows, many)
        }
        Err(rejected) => {
            let problem = rejected.problem.clone();
            if !rejected.limit_exceeded {
                state.count_rejection(&problem);
            }
            state.rejections.report(span.context(), ROUTE, caller, &problem, arrived_us, ended_us);
            head.trace_id = Some(span.context().trace_id_hex().to_string());
            rejection = Some(rejected);
            PredictResponse::of_problem(&head, problem)
        }
    };
    let mut response = response_head(&state, &request, &span, &answer, rejection.as_ref());
    span.end(answer.status(), answer.code, ended_us);
    response.body(answer.json)
}

/// The rows of the answer and whether the request had many, with the caller if it is known.
async fn authenticate_and_answer(
    state: &HttpState,
    request: &HttpRequest,
    payload: Payload,
    trace: TraceContext,
    head: &mut AnswerHead,
) -> (Result<(RowOutcomes, bool), HttpRejection>, Option<Arc<Caller>>) {
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
    state: &HttpState,
    request: &HttpRequest,
    payload: Payload,
    trace: TraceContext,
    head: &mut AnswerHead,
    caller: Option<&Caller>,
) -> Result<(RowOutcomes, bool), HttpRejection> {
    state.check_available()?;
    let (body, body_permits) = body::read(request, payload, &state.http, &state.limits).await?;
    let mut parsed = parse::parse_http(&body, state.http.max_rows).inspect_err(|_| {
        head.request_id = parse::recover_request_id(&body);
    })?;
    drop((body, body_permits));
    head.request_id.clone_from(&parsed.request_id);
    head.version.clone_from(&parsed.version);
    if parsed.key.is_none() {
        let key = key_header(request.headers(), "x-forebay-key", "X-Forebay-Key")?;
        parsed.key = key.map(|key| SplitKey::of_text(&key));
    }
    let key = key_header(request.headers(), "idempotency-key", "Idempotency-Key")?;
    let key = key.as_deref().map(|key| (caller.map_or("", Caller::identity), key));
    let (rows, many) = (parsed.features.rows().len(), parsed.features.many());
    let model = if parsed.model.is_empty() { &state.default_model } else { parsed.model.as_str() };
    let row_permits = Arc::new(state.limits.acquire_rows(model, rows)?);
    if let Some(caller) = caller {
        caller.authorize(model, rows, head.arrived_us / 1_000_000)?;
    }
    let timeout = state.timeouts.effective(parsed.timeout);
    let waiting = state.limits.wait(model, Lane::of_priority(parsed.priority), rows, timeout)?;
    let admission = admission(state, &parsed, key, timeout, trace, head.arrived_us);
    let outcomes = send_and_wait(state, &admission, parsed, &row_permits).await?;
    waiting.answered();
    drop(row_permits);
    Ok((outcomes, many))
}

/// Sends the items unless another caller of the same `Idempotency-Key` has sent them, and waits for their outcomes.
async fn send_and_wait(
    state: &HttpState,
    admission: &RequestAdmission,
    parsed: ParsedRequest,
    row_permits: &Arc<RowPermits>,
) -> Result<RowOutcomes, Problem> {
    let rows = parsed.features.rows().len();
    let mut unsent = Some(parsed);
    loop {
        let registered = state.pending.register(admission.id, rows, admission.idempotent, admission.deadline_us());
        let (caller, new) = registered.map_err(|_| payload_conflict())?;
        if new && let Some(parsed) = unsent.take() {
            let ack = ack(state, admission.id, caller.number(), Arc::clone(row_permits));
            (state.batcher)(PendingItems { items: admission.items(parsed), ack, spans: Vec::new() });
        }
        let left = Duration::from_micros(admission.deadline_us().saturating_sub(now_us()));
        match caller.reply(left).await {
            CallerReply::Rows(outcomes) => return Ok(outcomes),
            // what another caller sent had less time than this one has
            CallerReply::Expired => {}
        }
    }
}

/// Decides identity, partition and digest. `key` is the caller's identity and its `Idempotency-Key`.
fn admission(
    state: &HttpState,
    request: &ParsedRequest,
    key: Option<(&str, &str)>,
    timeout: Duration,
    trace: TraceContext,
    accepted_us: u64,
) -> RequestAdmission {
    let (id, result_partition) = match key {
        Some((caller, key)) => {
            let id = RequestId::of_key(caller, key);
            (id, id.result_partition(state.partitions))
        }
        None => (RequestId::random(), state.batch_partition.load(Ordering::Relaxed)),
    };
    let idempotent = key.map(|_| request.digest());
    RequestAdmission {
        id,
        result_partition,
        origin: Origin::Http(state.origin),
        accepted_us,
        timeout,
        trace,
        idempotent,
    }
}

/// Releases the row permits once both the caller and the mesh are done with the request. If the mesh cannot take the items,
/// the caller is answered at once.
fn ack(state: &HttpState, id: RequestId, sent_by: u64, row_permits: Arc<RowPermits>) -> Ack {
    let pending = state.pending.clone();
    Ack::new(move |outcome| {
        if outcome == AckOutcome::Failed {
            pending.fail(id, sent_by, &Problem::new(ErrorCode::Unavailable, "the mesh cannot accept this request now"));
        }
        drop(row_permits);
    })
}

fn response_head(
    state: &HttpState,
    request: &HttpRequest,
    span: &RequestSpan,
    answer: &PredictResponse,
    rejection: Option<&HttpRejection>,
) -> actix_web::HttpResponseBuilder {
    let status = StatusCode::from_u16(answer.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponse::build(status);
    response.content_type("application/json");
    if matches!(answer.status(), 429 | 503) {
        response.insert_header((RETRY_AFTER, rejection.map_or(1, HttpRejection::retry_seconds)));
    }
    if let Some(challenge) = rejection.and_then(|rejection| rejection.challenge) {
        response.insert_header((WWW_AUTHENTICATE, challenge));
    }
    for header in span.headers(request.headers()) {
        response.insert_header(header);
    }
    if state.lifecycle.is_draining() {
        response.force_close();
    }
    response
}

fn payload_conflict() -> Problem {
    Problem::new(ErrorCode::IdempotencyConflict, "this Idempotency-Key is in use for a different payload")
}

/// A key that the client chose, from the header `name`; error messages spell it `shown`.
fn key_header(headers: &HeaderMap, name: &str, shown: &str) -> Result<Option<String>, Problem> {
    let Some(key) = headers.get(name) else { return Ok(None) };
    let text = key.to_str().ok().map(str::trim).filter(|key| (1..=MAX_KEY_BYTES).contains(&key.len()));
    let invalid = || {
        let message = format!("{shown}: expected 1 to {MAX_KEY_BYTES} visible ASCII characters");
        Problem::new(ErrorCode::InvalidRequest, message)
    };
    text.map(|key| Some(key.to_owned())).ok_or_else(invalid)
}

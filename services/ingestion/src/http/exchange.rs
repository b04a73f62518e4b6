//! A request for predictions in a protocol other than that of `/v1/predict`: authenticated, admitted, traced, scored and
//! answered like one of that path, with bodies that the protocol reads and writes.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use actix_web::web::{Bytes, Payload};
use actix_web::{HttpRequest, HttpResponse};
use forebay_contract::{ErrorCode, Problem, SplitKey, machine_us, now_us};
use forebay_runtime::TraceContext;

use super::async_results::refuse_callback;
use super::body;
use super::content_coding;
use super::credentials::credentials;
use super::predict::key_header;
use super::response_head::{rejected_head, response_head};
use super::span::RequestSpan;
use super::state::HttpState;
use super::submission::{Arrival, submit};
use crate::auth::{AuthenticatedCaller, Caller};
use crate::pending::RowOutcomes;
use crate::rejection::HttpRejection;
use crate::request::ParsedRequest;

/// How a protocol reads requests and writes answers. One value serves one request.
pub(super) trait Protocol {
    /// The path of its route, for traces and logs.
    fn route(&self) -> &'static str;

    /// Reads the rows of a request. What it says of models is for a caller that may use them.
    ///
    /// # Errors
    /// What is wrong with the request, and where; `forbidden` before anything is looked up of a model that the caller may
    /// not use.
    fn read(&mut self, received: Received<'_>) -> Result<ParsedRequest, HttpRejection>;

    /// Writes the answer to a request that arrived `took` ago.
    ///
    /// # Errors
    /// Why there is no answer: a row failed, or the client wants an output that the model does not have.
    fn write(&mut self, rows: RowOutcomes, took: Duration) -> Result<AnswerBody, Problem>;

    /// The JSON of an error, after `took`.
    fn refuse(&mut self, problem: &Problem, took: Duration) -> Vec<u8>;
}

/// A request whose body is there.
#[derive(Clone, Debug)]
pub(super) struct Received<'r> {
    pub request: &'r HttpRequest,
    /// `None` if no credentials are needed.
    pub caller: Option<&'r Caller>,
    /// Decompressed.
    pub body: Bytes,
    /// The most rows that it may have.
    pub max_rows: usize,
}

/// The body of an answer.
#[derive(Debug)]
pub(super) struct AnswerBody {
    pub bytes: Vec<u8>,
    pub content_type: &'static str,
    /// A header that the protocol adds.
    pub header: Option<(HeaderName, HeaderValue)>,
}

impl AnswerBody {
    /// An answer in JSON.
    pub(super) fn json(bytes: Vec<u8>) -> Self {
        Self { bytes, content_type: "application/json", header: None }
    }
}

/// A request that has no answer.
enum Failed {
    /// It did not enter the mesh.
    Rejected(HttpRejection),
    /// The mesh could not answer it.
    Unanswered(Problem),
}

/// Serves one request.
pub(super) async fn serve(
    request: HttpRequest,
    payload: Payload,
    state: &HttpState,
    mut protocol: impl Protocol,
) -> HttpResponse {
    let arrived_us = now_us();
    let route = protocol.route();
    let scheme = if state.http.tls.is_on() { "https" } else { "http" };
    let mut span = RequestSpan::open(&state.tracer, request.headers(), route, scheme, arrived_us);
    let (answered, caller) = answer(state, &request, payload, span.context(), arrived_us, &mut protocol).await;
    let caller = caller.as_deref().map(Caller::name);
    if let Some(name) = caller {
        span.set("forebay.caller", name.to_owned());
    }
    let ended_us = now_us();
    let (body, code, rejection) = match answered {
        Ok(body) => (body, None, None),
        Err(failed) => {
            let (problem, rejection) = match failed {
                Failed::Rejected(rejection) => {
                    if !rejection.limit_exceeded {
                        state.count_rejection(&rejection.problem);
                    }
                    let problem = rejection.problem.clone();
                    if !state.rejections.report(span.context(), route, caller, &problem, arrived_us, ended_us) {
                        span.discard();
                    }
                    (problem, Some(rejection))
                }
                Failed::Unanswered(problem) => (problem, None),
            };
            let took = Duration::from_micros(ended_us.saturating_sub(arrived_us));
            (AnswerBody::json(protocol.refuse(&problem, took)), Some(problem.code), rejection)
        }
    };
    let status = code.map_or(200, ErrorCode::status);
    let mut response = response_head(state, request.headers(), &span, status, rejection.as_ref());
    span.end(status, code, ended_us);
    response.insert_header((CONTENT_TYPE, body.content_type));
    if let Some(header) = body.header {
        response.insert_header(header);
    }
    match code {
        None => content_coding::send(response, request.headers(), body.bytes),
        Some(_) => response.body(body.bytes),
    }
}

/// The answer, with the caller if it is known.
async fn answer(
    state: &HttpState,
    request: &HttpRequest,
    payload: Payload,
    trace: TraceContext,
    arrived_us: u64,
    protocol: &mut impl Protocol,
) -> (Result<AnswerBody, Failed>, Option<Arc<Caller>>) {
    let _permit = match state.limits.acquire_request() {
        Ok(permit) => permit,
        Err(problem) => return (Err(Failed::Rejected(problem.into())), None),
    };
    let caller = match authenticate(state, request).await {
        Ok(caller) => caller,
        Err((rejection, caller)) => return (Err(Failed::Rejected(rejection)), caller),
    };
    let arrival = Arrival { caller: caller.as_deref(), idempotency_key: None, trace, arrived_us };
    let rows = score(state, request, payload, arrival, protocol).await;
    let answered = rows.map_err(Failed::Rejected).and_then(|rows| {
        let took = Duration::from_micros(now_us().saturating_sub(arrived_us));
        protocol.write(rows, took).map_err(Failed::Unanswered)
    });
    (answered, caller)
}

async fn score(
    state: &HttpState,
    request: &HttpRequest,
    payload: Payload,
    arrival: Arrival<'_>,
    protocol: &mut impl Protocol,
) -> Result<RowOutcomes, HttpRejection> {
    state.check_available()?;
    refuse_callback(request.headers())?;
    let (body, body_permits) = body::read(request, payload, state, arrival.caller).await?;
    let received = Received { request, caller: arrival.caller, body, max_rows: state.http.max_rows };
    let mut parsed = protocol.read(received)?;
    drop(body_permits);
    if parsed.key.is_none() {
        let key = key_header(request.headers(), "x-forebay-key", "X-Forebay-Key")?;
        parsed.key = key.map(|key| SplitKey::of_text(&key));
    }
    let key = key_header(request.headers(), "idempotency-key", "Idempotency-Key")?;
    submit(state, parsed, Arrival { idempotency_key: key.as_deref(), ..arrival }).await
}

/// The caller of a request. Errors bring the caller if it is known.
pub(super) async fn authenticate(
    state: &HttpState,
    request: &HttpRequest,
) -> Result<AuthenticatedCaller, (HttpRejection, AuthenticatedCaller)> {
    // not the corrected time: whether a token is valid is not for a broker to decide
    state.authenticator.authenticate(credentials(request.headers()), machine_us() / 1_000_000).await
}

/// The caller of a request that fetches what an earlier one led to. It has a rate of its own. Errors bring the caller if it
/// is known.
pub(super) async fn identify(
    state: &HttpState,
    request: &HttpRequest,
) -> Result<AuthenticatedCaller, (HttpRejection, AuthenticatedCaller)> {
    state.authenticator.authenticate_fetch(credentials(request.headers()), machine_us() / 1_000_000).await
}

/// The answer to a request without rows and is rejected; `json` is the protocol's form of the error.
pub(super) fn rejected(rejection: &HttpRejection, json: Vec<u8>) -> HttpResponse {
    rejected_head(rejection.problem.code.status(), Some(rejection)).body(json)
}

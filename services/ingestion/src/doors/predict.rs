//! `POST /v1/predict`: one row or many, answered through the mesh.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use forebay_bus::{Ack, AckOutcome};
use forebay_contract::wire::outcome::Result as Answered;
use forebay_contract::{ErrorCode, HttpOrigin, Origin, Problem, RequestId, SplitKey, now_us};
use forebay_runtime::prometheus_client::metrics::counter::Counter;
use forebay_runtime::{Lifecycle, StageMetrics, StageTracer, TraceContext};

use super::answer::{ErrorAnswer, Frame, Reply};
use super::body::Intake;
use super::credentials::credentials;
use super::openapi::{PredictAnswer, PredictRequest};
use super::refusals::Refusals;
use super::seats::{Seats, WaitingRoom};
use super::span::RequestSpan;
use crate::admission::{Admission, Timeouts};
use crate::ask::Ask;
use crate::auth::{Caller, Gate};
use crate::gathering::{Gather, Offer};
use crate::parse;
use crate::refusal::Refusal;
use crate::settings::Http;
use crate::waiters::{Rows, Waiters};

/// Path of this door.
pub(super) const ROUTE: &str = "/v1/predict";
const MAX_KEY_BYTES: usize = 255;

/// What every request needs; shared by the workers.
#[derive(Clone)]
pub struct PredictDoor {
    /// Takes items to the mesh.
    pub gather: Gather,
    /// Where callers wait.
    pub waiters: Waiters,
    /// One a row that waits.
    pub(crate) room: WaitingRoom,
    /// Of requests.
    pub timeouts: Timeouts,
    /// Of the inner topics.
    pub partitions: u32,
    /// Batch partition of the batch that is gathering now: the home of requests without a key, so that packs stay whole.
    pub batch_partition: Arc<AtomicU32>,
    /// Where replies to this replica go.
    pub origin: HttpOrigin,
    /// Limits.
    pub http: Http,
    /// What is taken in at once.
    pub(crate) intake: Intake,
    /// Who may ask.
    pub gate: Gate,
    /// What a request that names no model asks.
    pub default_model: Arc<str>,
    /// The process.
    pub lifecycle: Lifecycle,
    /// Refuse work while a component is not ready: the edges of this process are its own.
    pub only_when_ready: bool,
    /// The stage's spans.
    pub tracer: StageTracer,
    /// Tells of requests that do not get past the door.
    pub(crate) refusals: Refusals,
    /// What the stage counts.
    pub metrics: StageMetrics,
    /// `inference_requests_total`, for requests that no batch carries.
    pub accepted: Counter,
    /// `inference_errors_total`, likewise.
    pub errors: Counter,
}

impl std::fmt::Debug for PredictDoor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PredictDoor").field("origin", &self.origin).finish_non_exhaustive()
    }
}

/// The handler.
#[utoipa::path(
    post,
    path = "/v1/predict",
    tag = "predict",
    request_body = PredictRequest,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Names the request: the same key and payload again get the same answer"),
        ("X-Forebay-Key" = Option<String>, Header, description = "As the field key, which comes first"),
        ("traceparent" = Option<String>, Header, description = "W3C trace context; the mesh continues the trace"),
    ),
    responses(
        (status = 200, description = "One prediction, or one a row", body = PredictAnswer),
        (status = 400, description = "invalid_request, invalid_features", body = ErrorAnswer),
        (status = 401, description = "unauthorized: no or wrong credentials; see WWW-Authenticate", body = ErrorAnswer),
        (status = 403, description = "forbidden: credentials that do not allow this", body = ErrorAnswer),
        (status = 404, description = "unknown_model", body = ErrorAnswer),
        (status = 409, description = "idempotency_conflict", body = ErrorAnswer),
        (status = 413, description = "payload_too_large", body = ErrorAnswer),
        (status = 429, description = "overloaded; see Retry-After", body = ErrorAnswer),
        (status = 500, description = "internal", body = ErrorAnswer),
        (status = 503, description = "unavailable, model_unavailable; see Retry-After", body = ErrorAnswer),
        (status = 504, description = "deadline_exceeded", body = ErrorAnswer),
    ),
)]
pub(super) async fn predict(request: HttpRequest, payload: Payload, door: Data<PredictDoor>) -> HttpResponse {
    let arrived_us = now_us();
    let scheme = if door.http.tls.is_on() { "https" } else { "http" };
    let mut span = RequestSpan::open(&door.tracer, request.headers(), ROUTE, scheme, arrived_us);
    let mut frame = Frame { arrived_us, trace_id: span.trace_id(), ..Frame::default() };
    let (answered, caller) = door.admit_and_answer(&request, payload, span.context(), &mut frame).await;
    let caller = caller.as_deref().map(Caller::name);
    let ended_us = now_us();
    frame.latency_us = ended_us.saturating_sub(arrived_us);
    if let Some(label) = &frame.request_id {
        span.set("forebay.request_id", label.clone());
    }
    if let Some(name) = caller {
        span.set("forebay.caller", name.to_owned());
    }
    let mut refusal = None;
    let reply = match answered {
        Ok((rows, many)) => {
            span.set("forebay.rows", i64::try_from(rows.len()).unwrap_or(i64::MAX));
            if rows.iter().any(|row| matches!(row.result, Some(Answered::Failure(_)))) {
                // a failed request has spans and a log line even when it was not sampled
                frame.trace_id = Some(span.context().trace_id_hex().to_string());
            }
            Reply::of_rows(frame, rows, many)
        }
        Err(refused) => {
            let problem = refused.problem.clone();
            if !refused.used_up {
                door.count_refusal(&problem);
            }
            door.refusals.tell(span.context(), ROUTE, caller, &problem, arrived_us, ended_us);
            frame.trace_id = Some(span.context().trace_id_hex().to_string());
            refusal = Some(refused);
            Reply::refused(frame, problem)
        }
    };
    let mut response = door.respond(&request, &span, &reply, refusal.as_ref());
    span.end(reply.status(), reply.code, ended_us);
    response.body(reply.json)
}

impl PredictDoor {
    /// The answer, and who asked, where that is known.
    async fn admit_and_answer(
        &self,
        request: &HttpRequest,
        payload: Payload,
        trace: TraceContext,
        frame: &mut Frame,
    ) -> (Result<(Rows, bool), Refusal>, Option<Arc<Caller>>) {
        let _place = match self.intake.enter() {
            Ok(place) => place,
            Err(problem) => return (Err(problem.into()), None),
        };
        match self.gate.admit(credentials(request.headers()), frame.arrived_us / 1_000_000).await {
            Ok(caller) => (self.answer(request, payload, trace, frame, caller.as_deref()).await, caller),
            Err((refusal, caller)) => (Err(refusal), caller),
        }
    }

    async fn answer(
        &self,
        request: &HttpRequest,
        payload: Payload,
        trace: TraceContext,
        frame: &mut Frame,
        caller: Option<&Caller>,
    ) -> Result<(Rows, bool), Refusal> {
        self.open()?;
        let (body, memory) = self.intake.body(request, payload).await?;
        let mut ask = parse::parse_http(&body, self.http.max_rows).inspect_err(|_| {
            frame.request_id = parse::request_id(&body);
        })?;
        drop((body, memory));
        frame.request_id.clone_from(&ask.request_id);
        frame.version.clone_from(&ask.version);
        if ask.key.is_none() {
            ask.key = header(request.headers(), "x-forebay-key", "X-Forebay-Key")?.map(|key| SplitKey::of_text(&key));
        }
        let key = header(request.headers(), "idempotency-key", "Idempotency-Key")?;
        let key = key.as_deref().map(|key| (caller.map_or("", Caller::identity), key));
        let (rows, many) = (ask.features.rows().len(), ask.features.many());
        let seats = Arc::new(self.room.seats(rows)?);
        if let Some(caller) = caller {
            let model = if ask.model.is_empty() { &self.default_model } else { ask.model.as_str() };
            caller.ask(model, rows, frame.arrived_us / 1_000_000)?;
        }
        let timeout = self.timeouts.of(ask.timeout);
        let admission = self.admit(&ask, key, timeout, trace, frame.arrived_us);
        let (waiter, new) = self.waiters.enter(admission.ask, rows, admission.idempotent).map_err(|_| conflict())?;
        if new {
            let ack = self.ack(admission.ask, Arc::clone(&seats));
            (self.gather)(Offer { items: admission.items(ask), ack, spans: Vec::new() });
        }
        let spent = Duration::from_micros(now_us().saturating_sub(frame.arrived_us));
        let outcomes = waiter.rows(timeout.saturating_sub(spent)).await;
        drop(seats);
        Ok((outcomes, many))
    }

    /// Whether work is taken at all.
    fn open(&self) -> Result<(), Problem> {
        let refuse = |why: &str| Err(Problem::new(ErrorCode::Unavailable, why));
        if self.lifecycle.is_draining() {
            return refuse("this replica is shutting down");
        }
        if self.only_when_ready && !self.lifecycle.is_ready() {
            let missing = self.lifecycle.components().into_iter().find_map(|it| Some((it.name, it.unready?)));
            return refuse(&missing.map_or_else(
                || "this replica is not ready".to_owned(),
                |(name, why)| format!("this replica is not ready: {name}: {why}"),
            ));
        }
        Ok(())
    }

    /// `key` is the caller and its `Idempotency-Key`.
    fn admit(
        &self,
        ask: &Ask,
        key: Option<(&str, &str)>,
        timeout: Duration,
        trace: TraceContext,
        accepted_us: u64,
    ) -> Admission {
        let (id, result_partition) = match key {
            Some((caller, key)) => {
                let id = RequestId::of_key(caller, key);
                (id, id.result_partition(self.partitions))
            }
            None => (RequestId::random(), self.batch_partition.load(Ordering::Relaxed)),
        };
        let idempotent = key.map(|_| ask.digest());
        Admission {
            ask: id,
            result_partition,
            origin: Origin::Http(self.origin),
            accepted_us,
            timeout,
            trace,
            idempotent,
        }
    }

    /// The seats are free when the caller has left and the mesh is done as well; a mesh that cannot take the items is
    /// told to the caller at once.
    fn ack(&self, ask: RequestId, seats: Arc<Seats>) -> Ack {
        let waiters = self.waiters.clone();
        Ack::new(move |outcome| {
            if outcome == AckOutcome::Failed {
                waiters.fail(ask, &Problem::new(ErrorCode::Unavailable, "the mesh cannot take this request now"));
            }
            drop(seats);
        })
    }

    /// Requests that no batch carries are counted here.
    fn count_refusal(&self, problem: &Problem) {
        self.metrics.failed(problem.code.as_str()).inc();
        self.accepted.inc();
        self.errors.inc();
    }

    fn respond(
        &self,
        request: &HttpRequest,
        span: &RequestSpan,
        reply: &Reply,
        refusal: Option<&Refusal>,
    ) -> actix_web::HttpResponseBuilder {
        let status = StatusCode::from_u16(reply.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = HttpResponse::build(status);
        response.content_type("application/json");
        if matches!(reply.status(), 429 | 503) {
            response.insert_header((RETRY_AFTER, refusal.map_or(1, Refusal::retry_seconds)));
        }
        if let Some(challenge) = refusal.and_then(|refusal| refusal.challenge) {
            response.insert_header((WWW_AUTHENTICATE, challenge));
        }
        for header in span.headers(request.headers()) {
            response.insert_header(header);
        }
        if self.lifecycle.is_draining() {
            response.force_close();
        }
        response
    }
}

fn conflict() -> Problem {
    Problem::new(ErrorCode::IdempotencyConflict, "this Idempotency-Key is in use for another payload")
}

/// A key of the client's own in the header `name`, which messages call `shown`.
fn header(headers: &HeaderMap, name: &str, shown: &str) -> Result<Option<String>, Problem> {
    let Some(key) = headers.get(name) else { return Ok(None) };
    let text = key.to_str().ok().map(str::trim).filter(|key| (1..=MAX_KEY_BYTES).contains(&key.len()));
    let invalid = || {
        let message = format!("{shown}: expected 1 to {MAX_KEY_BYTES} visible ASCII characters");
        Problem::new(ErrorCode::InvalidRequest, message)
    };
    text.map(|key| Some(key.to_owned())).ok_or_else(invalid)
}

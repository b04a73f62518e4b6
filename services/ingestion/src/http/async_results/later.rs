//! A request on its way to an answer that its caller comes back for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::HttpResponse;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use actix_web::web::{Bytes, Data};
use forebay_contract::{ErrorCode, Problem, RequestId, SplitKey, now_us};
use forebay_runtime::TraceContext;
use tokio::sync::oneshot;

use super::super::predict::response_of;
use super::super::response::{AnswerHead, PredictResponse};
use super::super::response_head::response_head;
use super::super::span::RequestSpan;
use super::super::state::HttpState;
use super::super::submission::{AdmittedRequest, Arrival, CallerWaits, admit};
use super::{pending, stored};
use crate::async_results::{AsyncResults, ResultId, StoredAnswer, Submission, SubmissionHead};
use crate::auth::Caller;
use crate::parse::parse_http;
use crate::rejection::HttpRejection;
use crate::request::ParsedRequest;

const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// Time between two attempts of a request that was taken over to enter the mesh.
const RETRY: Duration = Duration::from_secs(1);

/// A request whose caller does not wait.
#[derive(Debug)]
pub(in crate::http) struct LaterRequest {
    pub parsed: ParsedRequest,
    pub head: AnswerHead,
    /// Decompressed.
    pub body: Bytes,
    /// The header `X-Forebay-Key`.
    pub split_key: Option<String>,
    /// The header `X-Forebay-Callback`: where the answer is posted as well.
    pub callback: Option<String>,
}

/// What its caller gets.
#[derive(Debug)]
pub(in crate::http) struct LaterAnswer {
    id: ResultId,
    /// The answer, if it came within the time that the caller would wait.
    answer: Option<StoredAnswer>,
}

impl LaterRequest {
    /// Records the request and sends it into the mesh; waits up to `wait` for its answer.
    ///
    /// # Errors
    /// If the request does not enter the mesh, or cannot be recorded.
    pub(in crate::http) async fn submit(
        self,
        state: &Data<HttpState>,
        results: &AsyncResults,
        arrival: Arrival<'_>,
        wait: Duration,
    ) -> Result<LaterAnswer, HttpRejection> {
        let Self { parsed, head, body, split_key, callback } = self;
        callback.as_deref().map(|url| results.check_callback(url)).transpose()?;
        let owner = arrival.caller.map_or("", Caller::identity).to_owned();
        let id = match arrival.idempotency_key {
            Some(key) => ResultId::of_key(&owner, key, &parsed.digest()),
            None => ResultId::random(),
        };
        if arrival.idempotency_key.is_some() {
            let found = results.find(id, &owner).await?;
            // sent again, because the first answer was lost on its way, or may be another one now; one that is posted as well
            // has been, and a second one would have the same id
            if found.is_some_and(|found| callback.is_some() || !found.may_be_repeated()) {
                return Ok(LaterAnswer { id, answer: None });
            }
        }
        let reserved = results.reserve(&owner, callback.is_some())?;
        // without a key of the caller's, one that no caller can guess
        let key = arrival.idempotency_key.map_or_else(|| format!("async/{}", RequestId::random()), str::to_owned);
        let arrival = Arrival { idempotency_key: Some(&key), ..arrival };
        let (many, trace, arrived_us) = (parsed.features.many(), arrival.trace, head.arrived_us);
        let admitted = admit(state, parsed, arrival, &owner, CallerWaits::Elsewhere)?;
        let sent = SubmissionHead {
            idempotency_key: key,
            split_key,
            callback: callback.clone(),
            trace: trace.to_traceparent(),
            arrived_us,
        };
        results.submit(id, Submission { owner: owner.clone(), head: sent, body }, reserved).await?;
        let (done, answer) = oneshot::channel();
        let state = Data::clone(state).into_inner();
        let request = Admitted { id, owner, admitted, head, trace, many, callback };
        results.run(id, request.answer(state, results.clone(), Some(done)));
        if wait.is_zero() {
            // even an answer that is there: the caller expects a place
            return Ok(LaterAnswer { id, answer: None });
        }
        let answer = tokio::time::timeout(wait, answer).await;
        Ok(LaterAnswer { id, answer: answer.ok().and_then(Result::ok) })
    }
}

impl LaterAnswer {
    /// The answer, or where it will be.
    pub(in crate::http) fn response(self, state: &HttpState, request: &HeaderMap, span: &RequestSpan) -> HttpResponse {
        if let Some(answer) = self.answer {
            return stored(&answer, request);
        }
        let mut response = response_head(state, request, span, 202, None);
        response.insert_header((PREFERENCE_APPLIED, HeaderValue::from_static("respond-async")));
        pending(response, self.id)
    }
}

/// A request that is in work.
struct Admitted {
    id: ResultId,
    owner: String,
    admitted: AdmittedRequest,
    head: AnswerHead,
    trace: TraceContext,
    many: bool,
    callback: Option<String>,
}

impl Admitted {
    /// Waits for the outcomes, stores the answer, gives it to `waiting` and posts it.
    async fn answer(
        self,
        state: Arc<HttpState>,
        results: AsyncResults,
        waiting: Option<oneshot::Sender<StoredAnswer>>,
    ) {
        let Self { id, owner, admitted, mut head, trace, many, callback } = self;
        let outcomes = admitted.outcomes(&state).await;
        head.latency_us = now_us().saturating_sub(head.arrived_us);
        let mut response = response_of(&mut head, trace, outcomes, many);
        if let Err(problem) = StoredAnswer::check(&response.json) {
            response = PredictResponse::of_problem(&head, problem);
        }
        finish(&results, (id, &owner), response, waiting, callback.as_deref()).await;
    }
}

/// Stores the answer of a request, gives it to `waiting` and posts it to `callback`.
async fn finish(
    results: &AsyncResults,
    (id, owner): (ResultId, &str),
    response: PredictResponse,
    waiting: Option<oneshot::Sender<StoredAnswer>>,
    callback: Option<&str>,
) {
    let answer = StoredAnswer { status: response.status(), json: response.json };
    results.complete(id, owner, &answer, callback.is_some()).await;
    if let Some(waiting) = waiting {
        // a caller that has left, or had no time to wait, is no error
        _ = waiting.send(answer);
    }
    if let Some(url) = callback {
        results.call_back(id, url).await;
    }
}

/// Sends a request into the mesh again whose replica died, and stores its answer.
pub(super) async fn answer_again(state: Arc<HttpState>, results: AsyncResults, id: ResultId, request: Submission) {
    let began = Instant::now();
    let trace = state.tracer.sample_root(TraceContext::from_traceparent(&request.head.trace));
    let trace_id = trace.sampled().then(|| trace.trace_id_hex().to_string());
    let mut head = AnswerHead { arrived_us: request.head.arrived_us, trace_id, ..AnswerHead::default() };
    tracing::info!(result = ?id, "a request is taken over from a replica that died");
    loop {
        match admit_again(&state, &request, &mut head, trace) {
            Ok((admitted, many)) => {
                let (owner, callback) = (request.owner.clone(), request.head.callback.clone());
                let again = Admitted { id, owner, admitted, head, trace, many, callback };
                return again.answer(state, results, None).await;
            }
            Err(rejection) => {
                let later = matches!(rejection.problem.code, ErrorCode::Overloaded | ErrorCode::Unavailable);
                if !later || began.elapsed() > results.ttl() {
                    head.latency_us = now_us().saturating_sub(head.arrived_us);
                    let response = PredictResponse::of_problem(&head, rejection.problem);
                    let callback = request.head.callback.as_deref();
                    return finish(&results, (id, &request.owner), response, None, callback).await;
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Answers a request that has been taken over from several replicas, all of which died.
pub(super) async fn give_up(results: &AsyncResults, id: ResultId, owner: &str, callback: Option<&str>) {
    let problem =
        Problem::new(ErrorCode::Internal, "every replica that worked on this request ended before it was answered");
    tracing::error!(result = ?id, "a request that is answered later has ended several replicas");
    let response = PredictResponse::of_problem(&AnswerHead::default(), problem);
    finish(results, (id, owner), response, None, callback).await;
}

/// Its caller was authorized when the request arrived, and its rows were counted.
fn admit_again(
    state: &HttpState,
    request: &Submission,
    head: &mut AnswerHead,
    trace: TraceContext,
) -> Result<(AdmittedRequest, bool), HttpRejection> {
    state.check_available()?;
    let mut parsed = parse_http(&request.body, state.http.max_rows)?;
    head.request_id.clone_from(&parsed.request_id);
    head.version.clone_from(&parsed.version);
    parsed.key = parsed.key.or_else(|| request.head.split_key.as_deref().map(SplitKey::of_text));
    let many = parsed.features.many();
    let key = Some(request.head.idempotency_key.as_str());
    let arrival = Arrival { caller: None, idempotency_key: key, trace, arrived_us: now_us() };
    Ok((admit(state, parsed, arrival, &request.owner, CallerWaits::Elsewhere)?, many))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use forebay_bus::EdgeEvents;
    use forebay_bus::kafka::DeadLetters;
    use forebay_runtime::Metrics;

    use super::*;
    use crate::async_results::{AnswerStore, AsyncMetrics, Callbacks, MemoryStore, StoredResult};
    use crate::{DEFAULTS, Settings};

    struct NoEvents;

    impl EdgeEvents for NoEvents {
        fn dead_letter(&self) {}
    }

    #[tokio::test]
    async fn the_caller_of_a_request_that_is_given_up_is_called_back() {
        let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", receiver.local_addr().unwrap());
        let received = std::thread::spawn(move || {
            let (mut stream, _) = receiver.accept().unwrap();
            let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
            while !String::from_utf8_lossy(&bytes).contains("}}") {
                let read = stream.read(&mut chunk).unwrap();
                bytes.extend_from_slice(&chunk[..read]);
            }
            stream.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 0\r\n\r\n").unwrap();
            String::from_utf8(bytes).unwrap()
        });
        let allowed = format!("async.callbacks={url}");
        let secret = format!("async.callback_secret={}", "A".repeat(44));
        let flags = [allowed.as_str(), secret.as_str(), "async.callback_addresses=any"];
        let sources = forebay_testkit::settings(&[forebay_redis::DEFAULTS, DEFAULTS]).flags(&flags);
        let settings = sources.read(Settings::read).unwrap().async_results;
        let store = AnswerStore::Memory(Arc::new(MemoryStore::new(settings.memory, settings.ttl)));
        let callbacks = Callbacks::new(&settings, DeadLetters::logged("ingestion", Arc::new(NoEvents)));
        let spawn = Arc::new(|task| _ = tokio::spawn(task));
        let metrics = AsyncMetrics::register(&Metrics::new());
        let results = AsyncResults::new(store, spawn, settings.ttl, 10, metrics, callbacks);
        let (id, reserved) = (ResultId::random(), results.reserve("ann", true).unwrap());
        let head = SubmissionHead {
            idempotency_key: String::new(),
            split_key: None,
            callback: Some(url.clone()),
            trace: String::new(),
            arrived_us: 0,
        };
        let submission = Submission { owner: "ann".to_owned(), head, body: Bytes::new() };
        results.submit(id, submission, reserved).await.unwrap();
        let given_up = give_up(&results, id, "ann", Some(&url));
        tokio::time::timeout(Duration::from_secs(20), given_up).await.unwrap();
        let message = received.join().unwrap();
        assert!(message.contains("every replica that worked on this request ended"), "{message}");
        assert!(matches!(results.find(id, "ann").await, Ok(Some(StoredResult::Answered(_)))));
    }
}

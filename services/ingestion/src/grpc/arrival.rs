//! Calls while they arrive: the caller is known before anything is read, each message has permits from its first byte on
//! and has to be whole in time, and a call whose deadline is over is answered as such.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use forebay_bus::Permit;
use forebay_contract::{Problem, now_us};
use parking_lot::Mutex;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower_service::Service;

use super::arriving_body::ArrivingBody;
use super::open_calls::{CallKind, HeldBody, INFER, OpenCalls};
use super::{caller, status};
use crate::auth::{AuthenticatedCaller, Caller};
use crate::http::{BodyPermits, HttpState};
use crate::in_work::InWork;
use crate::rejection::HttpRejection;

type Response = http::Response<Body>;

/// What one message holds until it is read.
#[derive(Debug)]
pub(super) struct MessagePermit {
    /// `None` for a message of a stream, which counts as a request once it is worked on.
    pub request: Option<Permit>,
    pub bytes: BodyPermits,
}

/// Permits of the messages of a call that have arrived and were not taken yet, in their order.
pub(super) type MessagePermits = Arc<Mutex<VecDeque<MessagePermit>>>;

/// What is known of a call beside its messages. Every call has it among its extensions; clones share the permits.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    started: Instant,
    /// Who makes the call; `None` for a stream, each of whose messages is a request of its own, and for calls that need no
    /// credentials.
    caller: Option<AuthenticatedCaller>,
    permits: MessagePermits,
}

impl Arrival {
    fn new() -> Self {
        Self { started: Instant::now(), caller: None, permits: Arc::default() }
    }

    /// Who makes the call, if that is known of all of its messages.
    pub(super) fn caller(&self) -> Option<&AuthenticatedCaller> {
        self.caller.as_ref()
    }

    /// The permit of the next message, which has arrived.
    pub(super) fn take(&self) -> Option<MessagePermit> {
        self.permits.lock().pop_front()
    }

    /// What is left of the time that the client gives the call, less what the answer needs to get out.
    pub(super) fn left(&self, given: Duration) -> Duration {
        given.saturating_sub(margin(given)).saturating_sub(self.started.elapsed())
    }
}

/// The time before its deadline at which a call counts as late: the client's own clock runs from a moment earlier.
fn margin(given: Duration) -> Duration {
    (given / 10).min(Duration::from_millis(5))
}

/// Meters the calls of services. Clones share their limits.
#[derive(Clone)]
pub(super) struct Meter {
    pub state: Arc<HttpState>,
    pub open: OpenCalls,
    /// How long a stream may wait for its next message.
    pub stream_idle: Duration,
}

/// A service with its calls metered.
#[derive(Clone)]
pub(super) struct Metered<S> {
    inner: S,
    meter: Meter,
}

impl Meter {
    pub(super) fn wrap<S>(&self, inner: S) -> Metered<S> {
        Metered { inner, meter: self.clone() }
    }

    /// The permits of a call: that it is open, and that it is a request.
    fn admit(&self, kind: CallKind, path: &str) -> Result<(Permit, Option<Permit>), Problem> {
        let open = self.open.open(kind)?;
        let request = (path == INFER).then(|| self.state.limits.acquire_request()).transpose()?;
        Ok((open, request))
    }
}

impl<S: NamedService> NamedService for Metered<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Metered<S>
where
    S: Service<http::Request<Body>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let mut arrival = Arrival::new();
        let (mut head, body) = request.into_parts();
        let path = head.uri.path().to_owned();
        let counted = head.extensions.get::<InWork>().cloned().unwrap_or_default().begin_unknown();
        let kind = CallKind::of(&path);
        let Meter { state, stream_idle, .. } = &self.meter;
        let (open, request_permit) = match self.meter.admit(kind, &path) {
            Ok(permits) => permits,
            Err(problem) => {
                let refused = refuse(state, &path, problem.into(), None).into_http();
                return Box::pin(std::future::ready(Ok(refused)));
            }
        };
        restrict_coding(&mut head.headers);
        let given = head.headers.get("grpc-timeout").and_then(|text| caller::duration(text.to_str().ok()?));
        let mut body = ArrivingBody::new(
            body,
            Arc::clone(state),
            Arc::clone(&arrival.permits),
            (kind, *stream_idle),
            request_permit,
        );
        let (state, mut inner) = (Arc::clone(state), self.inner.clone());
        let response = async move {
            if !kind.public {
                let caller = match caller::open(&state, &head.headers, kind.stream).await {
                    Ok(caller) => caller,
                    Err((rejection, caller)) => {
                        return Ok(refuse(&state, &path, rejection, caller.as_deref()).into_http());
                    }
                };
                counted.accept();
                body.of_caller(&caller);
                arrival.caller = (!kind.stream).then_some(caller);
            }
            head.extensions.insert(arrival);
            let response: Result<Response, Infallible> =
                inner.call(http::Request::from_parts(head, Body::new(body))).await;
            response.map(|response| response.map(|inner| Body::new(HeldBody::new(inner, kind, open, counted))))
        };
        let Some(given) = given else { return Box::pin(response) };
        // before tonic ends the call at the same moment, as one that the client has cancelled
        let limit = given.saturating_sub(margin(given) / 2);
        Box::pin(async move {
            let late = |_| Ok(Status::deadline_exceeded("no answer within the time of the call").into_http());
            tokio::time::timeout(limit, response).await.unwrap_or_else(late)
        })
    }
}

/// An answer is compressed as its request was: what a client lists is what its library can read.
fn restrict_coding(headers: &mut http::HeaderMap) {
    let own = headers.get("grpc-encoding").cloned();
    match own.filter(|coding| coding != "identity") {
        None => drop(headers.remove("grpc-accept-encoding")),
        Some(coding) => {
            let text = coding.to_str().unwrap_or_default();
            let accepted = |list: &http::HeaderValue| list.to_str().is_ok_and(|list| list.contains(text));
            if headers.get("grpc-accept-encoding").is_some_and(accepted) {
                headers.insert("grpc-accept-encoding", coding);
            }
        }
    }
}

/// Counts and reports a call that is refused before it is read.
pub(super) fn refuse(state: &HttpState, path: &str, rejection: HttpRejection, caller: Option<&Caller>) -> Status {
    let now = now_us();
    if !rejection.limit_exceeded {
        state.count_rejection(&rejection.problem);
    }
    let (trace, caller) = (state.tracer.sample_root(None), caller.map(Caller::name));
    // the path of an inference is its name in traces and logs, whichever way it comes
    let route = if CallKind::of(path).public { "gRPC" } else { INFER };
    state.rejections.report(trace, route, caller, &rejection.problem, now, now);
    status::rejected(&rejection)
}

//! Calls while they arrive: each message has permits from its first byte on, has to be whole in time, and a call whose
//! deadline is over is answered as such.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use forebay_bus::Permit;
use forebay_contract::{ErrorCode, Problem, now_us};
use http_body::Frame;
use parking_lot::Mutex;
use tokio::time::Sleep;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Code, Status};
use tower_service::Service;

use super::{caller, status};
use crate::http::HttpState;

type Response = http::Response<Body>;

/// The call for one inference.
const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
/// The call whose messages are requests for inference.
const STREAM: &str = "/inference.GRPCInferenceService/ModelStreamInfer";
/// Bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// What one message holds until it is read.
#[derive(Debug)]
pub(super) struct MessagePermit {
    /// `None` for a message of a stream, which counts as a request once it is worked on.
    pub request: Option<Permit>,
    bytes: Permit,
}

/// What is known of a call beside its messages. Every call has it among its extensions; clones share the permits.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    started: Instant,
    /// Permits of the messages that have arrived and were not taken yet, in their order.
    permits: Arc<Mutex<VecDeque<MessagePermit>>>,
}

impl Arrival {
    fn new() -> Self {
        Self { started: Instant::now(), permits: Arc::default() }
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

/// A service with its calls metered.
#[derive(Clone)]
pub(super) struct Metered<S> {
    inner: S,
    state: Arc<HttpState>,
}

impl<S> Metered<S> {
    pub(super) fn new(inner: S, state: Arc<HttpState>) -> Self {
        Self { inner, state }
    }
}

impl<S: NamedService> NamedService for Metered<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Metered<S>
where
    S: Service<http::Request<Body>, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let arrival = Arrival::new();
        let request_permit = match request.uri().path() == INFER {
            true => match self.state.limits.acquire_request() {
                Ok(permit) => Some(permit),
                Err(problem) => {
                    let refused = refuse(&self.state, problem).into_http();
                    return Box::pin(std::future::ready(Ok(refused)));
                }
            },
            false => None,
        };
        let stream = request.uri().path() == STREAM;
        let given = request.headers().get("grpc-timeout").and_then(|text| caller::duration(text.to_str().ok()?));
        let (mut head, body) = request.into_parts();
        head.extensions.insert(arrival.clone());
        let body = ArrivingBody::new(body, Arc::clone(&self.state), arrival, stream, request_permit);
        let response = self.inner.call(http::Request::from_parts(head, Body::new(body)));
        let Some(given) = given else { return Box::pin(response) };
        // before tonic ends the call at the same moment, as one that the client has cancelled
        let limit = given.saturating_sub(margin(given) / 2);
        Box::pin(async move {
            let late = |_| Ok(Status::deadline_exceeded("no answer within the time of the call").into_http());
            tokio::time::timeout(limit, response).await.unwrap_or_else(late)
        })
    }
}

/// Counts and reports a call that is refused before it is read.
fn refuse(state: &HttpState, problem: Problem) -> Status {
    let now = now_us();
    state.count_rejection(&problem);
    state.rejections.report(state.tracer.sample_root(None), INFER, None, &problem, now, now);
    status::rejected(&problem.into())
}

/// The body of a call: messages, each behind its prefix.
struct ArrivingBody {
    inner: Body,
    state: Arc<HttpState>,
    arrival: Arrival,
    /// Whether messages may come at any time; else the whole body has to be there in time.
    stream: bool,
    request: Option<Permit>,
    /// The prefix of the message that arrives, as far as it is there.
    prefix: [u8; PREFIX],
    prefix_len: usize,
    /// What is still to come of the message.
    missing: usize,
    /// When the message, or the whole body, has to be there.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl ArrivingBody {
    fn new(inner: Body, state: Arc<HttpState>, arrival: Arrival, stream: bool, request: Option<Permit>) -> Self {
        let deadline = (!stream).then(|| Box::pin(tokio::time::sleep(state.http.body_timeout)));
        Self { inner, state, arrival, stream, request, prefix: [0; PREFIX], prefix_len: 0, missing: 0, deadline }
    }

    /// Takes permits for a part of the body.
    fn account(&mut self, mut data: &[u8]) -> Result<(), Problem> {
        while !data.is_empty() {
            if self.prefix_len < PREFIX {
                if self.prefix_len == 0 {
                    self.begin()?;
                }
                let part = data.len().min(PREFIX - self.prefix_len);
                self.prefix[self.prefix_len..self.prefix_len + part].copy_from_slice(&data[..part]);
                self.prefix_len += part;
                data = &data[part..];
                if self.prefix_len == PREFIX {
                    let [compressed, length @ ..] = self.prefix;
                    self.missing = u32::from_be_bytes(length) as usize;
                    // as much as the message may become
                    self.acquire(if compressed == 1 { self.state.http.max_body } else { 0 })?;
                }
            } else {
                let part = data.len().min(self.missing);
                self.acquire(part)?;
                self.missing -= part;
                data = &data[part..];
            }
            if self.prefix_len == PREFIX && self.missing == 0 {
                self.prefix_len = 0;
                if self.stream {
                    self.deadline = None;
                }
            }
        }
        Ok(())
    }

    /// Begins a message.
    fn begin(&mut self) -> Result<(), Problem> {
        let bytes = self.state.limits.acquire_bytes(0)?;
        self.arrival.permits.lock().push_back(MessagePermit { request: self.request.take(), bytes });
        if self.stream {
            self.deadline = Some(Box::pin(tokio::time::sleep(self.state.http.body_timeout)));
        }
        Ok(())
    }

    fn acquire(&self, bytes: usize) -> Result<(), Problem> {
        let permit = self.state.limits.acquire_bytes(bytes)?;
        // the last one is the one that arrives: it is not taken before it is whole
        if let Some(message) = self.arrival.permits.lock().back_mut() {
            message.bytes.merge(permit);
        }
        Ok(())
    }

    fn late(&self) -> Status {
        let text = format!("the message did not arrive within {} ms", self.state.http.body_timeout.as_millis());
        let problem = Problem::new(ErrorCode::InvalidRequest, text);
        let refused = refuse(&self.state, problem);
        Status::new(Code::DeadlineExceeded, refused.message())
    }
}

impl http_body::Body for ArrivingBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let accounted = frame.data_ref().map_or(Ok(()), |data| this.account(data));
                if let Err(problem) = accounted {
                    return Poll::Ready(Some(Err(refuse(&this.state, problem))));
                }
            }
            Poll::Ready(_) => this.deadline = None,
            Poll::Pending => {
                if this.deadline.as_mut().is_some_and(|deadline| deadline.as_mut().poll(cx).is_ready()) {
                    this.deadline = None;
                    return Poll::Ready(Some(Err(this.late())));
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}

//! The body of a call while it arrives.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use forebay_bus::Permit;
use forebay_contract::{ErrorCode, Problem};
use http_body::Frame;
use tokio::time::Sleep;
use tonic::body::Body;
use tonic::{Code, Status};

use super::arrival::{MessagePermit, MessagePermits, refuse};
use super::open_calls::{CallKind, INFER};
use crate::auth::AuthenticatedCaller;
use crate::http::HttpState;
use crate::rejection::HttpRejection;

/// Bytes before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// Largest message of calls that need no credentials.
pub(super) const MAX_PUBLIC_MESSAGE: usize = 64 << 10;

/// The body of a call: messages, each behind its prefix.
pub(super) struct ArrivingBody {
    inner: Body,
    state: Arc<HttpState>,
    permits: MessagePermits,
    /// Whether messages may come at any time; else the whole body has to be there in time.
    kind: CallKind,
    /// How long a stream may wait for its next message.
    idle: Duration,
    request: Option<Permit>,
    /// Who makes the call, once that is known.
    caller: AuthenticatedCaller,
    /// Whether a message has begun.
    begun: bool,
    /// The prefix of the message that arrives, as far as it is there.
    prefix: [u8; PREFIX],
    prefix_len: usize,
    /// What is still to come of the message.
    missing: usize,
    /// When the message, or the whole body, has to be there.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl ArrivingBody {
    pub(super) fn new(
        inner: Body,
        state: Arc<HttpState>,
        permits: MessagePermits,
        (kind, idle): (CallKind, Duration),
        request: Option<Permit>,
    ) -> Self {
        let limit = if kind.stream { idle } else { state.http.body_timeout };
        let deadline = Some(Box::pin(tokio::time::sleep(limit)));
        let prefix = [0; PREFIX];
        Self {
            inner,
            state,
            permits,
            kind,
            idle,
            request,
            caller: None,
            begun: false,
            prefix,
            prefix_len: 0,
            missing: 0,
            deadline,
        }
    }

    /// What comes counts for `caller`.
    pub(super) fn of_caller(&mut self, caller: &AuthenticatedCaller) {
        self.caller.clone_from(caller);
    }

    /// Takes permits for a part of the body.
    fn account(&mut self, mut data: &[u8]) -> Result<(), HttpRejection> {
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
                    let [_, length @ ..] = self.prefix;
                    self.missing = u32::from_be_bytes(length) as usize;
                    self.check_length()?;
                }
            } else {
                let part = data.len().min(self.missing);
                self.acquire(part)?;
                self.missing -= part;
                data = &data[part..];
            }
            if self.prefix_len == PREFIX && self.missing == 0 {
                self.prefix_len = 0;
                if self.prefix[0] == 1 {
                    // as much as it may become, now that it is whole: a few bytes of one that never is hold less
                    self.acquire(self.state.http.max_body)?;
                }
                if self.kind.stream {
                    self.deadline = Some(Box::pin(tokio::time::sleep(self.idle)));
                }
            }
        }
        Ok(())
    }

    /// Begins a message.
    fn begin(&mut self) -> Result<(), HttpRejection> {
        if std::mem::replace(&mut self.begun, true) && !self.kind.stream {
            return Err(HttpRejection::new(ErrorCode::InvalidRequest, "the call has more than its one message"));
        }
        if !self.kind.public {
            let bytes = self.state.limits.acquire_body(0, self.caller.as_deref())?;
            self.permits.lock().push_back(MessagePermit { request: self.request.take(), bytes });
        }
        if self.kind.stream {
            self.deadline = Some(Box::pin(tokio::time::sleep(self.state.http.body_timeout)));
        }
        Ok(())
    }

    /// Whether the message that begins may be as long as it is.
    fn check_length(&self) -> Result<(), Problem> {
        let (limit, setting) = match self.kind.public {
            true => (MAX_PUBLIC_MESSAGE, ""),
            false => (self.state.http.max_body, " (http.max_body)"),
        };
        if self.missing <= limit {
            return Ok(());
        }
        let text = format!("the message has {} bytes, more than the limit of {limit}{setting}", self.missing);
        Err(Problem::new(ErrorCode::PayloadTooLarge, text))
    }

    fn acquire(&self, bytes: usize) -> Result<(), HttpRejection> {
        if self.kind.public {
            return Ok(());
        }
        let permit = self.state.limits.acquire_body(bytes, self.caller.as_deref())?;
        // the last one is the one that arrives: it is not taken before it is whole
        if let Some(message) = self.permits.lock().back_mut() {
            message.bytes.merge(permit);
        }
        Ok(())
    }

    fn late(&self) -> Status {
        let pause = self.kind.stream && self.prefix_len == 0;
        let text = match pause {
            true => format!("the stream had no message for {} s (grpc.stream_idle)", self.idle.as_secs_f64()),
            false => format!("the message did not arrive within {} ms", self.state.http.body_timeout.as_millis()),
        };
        if !pause && !self.kind.public {
            let problem = Problem::new(ErrorCode::InvalidRequest, text.clone());
            refuse(&self.state, INFER, problem.into(), None);
        }
        Status::new(Code::DeadlineExceeded, text)
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
                if let Err(rejection) = accounted {
                    return Poll::Ready(Some(Err(refuse(&this.state, INFER, rejection, this.caller.as_deref()))));
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

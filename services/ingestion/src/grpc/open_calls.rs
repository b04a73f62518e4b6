//! How many calls and streams are open at a time, over all connections.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use forebay_bus::{Permit, Permits};
use forebay_contract::{ErrorCode, Problem};
use http_body::Frame;
use tonic::Status;
use tonic::body::Body;

use crate::in_work::{Counted, Pieces};

/// The call for one inference.
pub(super) const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
/// The call whose messages are requests for inference.
const STREAM: &str = "/inference.GRPCInferenceService/ModelStreamInfer";
/// Calls that anyone may make, like those of other services.
const PUBLIC: [&str; 2] = ["/inference.GRPCInferenceService/ServerLive", "/inference.GRPCInferenceService/ServerReady"];
const INFERENCE: &str = "/inference.";
/// Calls of other services whose streams stay open for as long as the client likes.
const ENDLESS: [&str; 2] = ["/Watch", "/ServerReflectionInfo"];
/// Most calls, and most streams, that anyone may open, over all connections.
const MAX_PUBLIC_CALLS: usize = 1000;
const MAX_PUBLIC_STREAMS: usize = 1000;

/// What a call is, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CallKind {
    /// Whether messages may come at any time.
    pub stream: bool,
    /// Whether it needs no credentials.
    pub public: bool,
}

impl CallKind {
    pub(super) fn of(path: &str) -> Self {
        let public = !path.starts_with(INFERENCE) || PUBLIC.contains(&path);
        let stream = path == STREAM || public && ENDLESS.iter().any(|name| path.ends_with(name));
        Self { stream, public }
    }
}

/// The limits. What needs no credentials has limits of its own: it takes no place of what needs some.
#[derive(Clone, Debug)]
pub(super) struct OpenCalls {
    calls: Permits,
    streams: Permits,
    public_calls: Permits,
    public_streams: Permits,
}

impl OpenCalls {
    pub(super) fn new(calls: usize, streams: usize) -> Self {
        let (public_calls, public_streams) = (Permits::new(MAX_PUBLIC_CALLS), Permits::new(MAX_PUBLIC_STREAMS));
        Self { calls: Permits::new(calls), streams: Permits::new(streams), public_calls, public_streams }
    }

    /// A permit to hold until the last byte of the answer has left.
    ///
    /// # Errors
    /// `overloaded`
    pub(super) fn open(&self, kind: CallKind) -> Result<Permit, Problem> {
        let (permits, what, setting) = match (kind.stream, kind.public) {
            (false, false) => (&self.calls, "calls", ", http.max_requests"),
            (false, true) => (&self.public_calls, "calls of this service", ""),
            (true, false) => (&self.streams, "streams", ", grpc.max_streams"),
            (true, true) => (&self.public_streams, "streams of this service", ""),
        };
        permits.try_take(1).ok_or_else(|| {
            let text = format!("too many open {what} (limit {}{setting})", permits.limit());
            Problem::new(ErrorCode::Overloaded, text)
        })
    }
}

/// The body of an answer, piece by piece, with the permit of its call and its place among the calls of its connection.
pub(super) struct HeldBody {
    inner: Body,
    pieces: Pieces,
    _permit: Permit,
}

impl HeldBody {
    pub(super) fn new(inner: Body, kind: CallKind, permit: Permit, counted: Counted) -> Self {
        Self { inner, pieces: Pieces::new(counted, kind.stream), _permit: permit }
    }
}

impl http_body::Body for HeldBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Self { inner, pieces, .. } = self.get_mut();
        pieces.poll(|| Pin::new(inner).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.inner.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_known_by_their_path() {
        let kind = |stream, public| CallKind { stream, public };
        for (path, expected) in [
            (INFER, kind(false, false)),
            (STREAM, kind(true, false)),
            ("/inference.GRPCInferenceService/ModelMetadata", kind(false, false)),
            ("/inference.GRPCInferenceService/ServerReady", kind(false, true)),
            ("/grpc.health.v1.Health/Check", kind(false, true)),
            ("/grpc.health.v1.Health/Watch", kind(true, true)),
            ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", kind(true, true)),
        ] {
            assert_eq!(CallKind::of(path), expected, "{path}");
        }
    }
    #[test]
    fn what_needs_no_credentials_has_limits_of_its_own() {
        let open = OpenCalls::new(1, 1);
        let kind = |path| CallKind::of(path);
        let watch = || open.open(kind("/grpc.health.v1.Health/Watch"));
        let held: Vec<_> = (0..MAX_PUBLIC_STREAMS).map(|_| watch().unwrap()).collect();
        assert_eq!(watch().unwrap_err().code, ErrorCode::Overloaded);
        let (stream, call) = (open.open(kind(STREAM)).unwrap(), open.open(kind(INFER)).unwrap());
        assert!(open.open(kind(STREAM)).is_err() && open.open(kind(INFER)).is_err());
        let health = || open.open(kind("/grpc.health.v1.Health/Check"));
        let checks: Vec<_> = (0..MAX_PUBLIC_CALLS).map(|_| health().unwrap()).collect();
        assert!(health().is_err());
        drop(checks);
        drop((held, stream, call));
        assert!(watch().is_ok() && open.open(kind(STREAM)).is_ok() && open.open(kind(INFER)).is_ok());
    }
}

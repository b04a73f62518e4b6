//! The server span of a request, and the trace headers of its answer.

use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use forebay_contract::ErrorCode;
use forebay_runtime::{SpanKind, StageSpan, StageTracer, TraceContext};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Covers a request from arrival to answer. The sampling decision for the whole trace is made here.
#[derive(Debug)]
pub(super) struct RequestSpan {
    context: TraceContext,
    span: Option<StageSpan>,
}

impl RequestSpan {
    pub(super) fn open(
        tracer: &StageTracer,
        headers: &HeaderMap,
        route: &'static str,
        scheme: &'static str,
        arrived_us: u64,
    ) -> Self {
        let caller = headers.get(TRACEPARENT).and_then(|header| header.to_str().ok());
        let root = tracer.sample_root(caller.and_then(TraceContext::from_traceparent));
        if !root.sampled() {
            return Self { context: root, span: None };
        }
        let mut span = tracer.start(format!("POST {route}"), SpanKind::Server, root, arrived_us);
        span.set("http.request.method", "POST");
        span.set("http.route", route);
        span.set("url.path", route);
        span.set("url.scheme", scheme);
        Self { context: span.context(), span: Some(span) }
    }

    /// The parent of the spans of the mesh.
    pub(super) fn context(&self) -> TraceContext {
        self.context
    }

    /// The trace id, if the request is traced.
    pub(super) fn trace_id(&self) -> Option<String> {
        self.context.sampled().then(|| self.context.trace_id_hex().to_string())
    }

    /// Sets an attribute.
    pub(super) fn set(&mut self, key: &'static str, value: impl Into<forebay_runtime::Value>) {
        if let Some(span) = &mut self.span {
            span.set(key, value);
        }
    }

    /// `traceparent` of the answer, and the caller's `tracestate` unchanged.
    pub(super) fn headers(&self, request: &HeaderMap) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let named = self.context.span_id != [0; 8];
        let parent = named.then(|| HeaderValue::from_str(&self.context.to_traceparent()).ok()).flatten();
        let state = request.get(TRACESTATE).filter(|_| named).cloned();
        parent.map(|value| (TRACEPARENT, value)).into_iter().chain(state.map(|value| (TRACESTATE, value)))
    }

    /// Forgets the span: it is not recorded.
    pub(super) fn discard(&mut self) {
        if let Some(span) = self.span.take() {
            span.discard();
        }
    }

    /// Ends the span with the status of the answer.
    pub(super) fn end(mut self, status: u16, code: Option<ErrorCode>, end_us: u64) {
        let Some(mut span) = self.span.take() else { return };
        span.set("http.response.status_code", i64::from(status));
        match code {
            // an error of the client is not an error of the server
            Some(code) if status < 500 => span.set("error.type", code.as_str()),
            Some(code) => span.error(code.as_str(), code.as_str()),
            None => {}
        }
        span.end_at(end_us);
    }
}

//! An OpenTelemetry collector for tests, and what it has received.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

pub use forebay_testkit::collector::hex;
use forebay_testkit::collector::{attribute, grpc_before, spans_of};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;

/// A span with the name of the service it came from.
#[derive(Clone, Debug)]
pub struct Seen {
    pub service: String,
    pub span: Span,
}

impl Seen {
    pub fn attribute(&self, name: &str) -> Option<String> {
        attribute(&self.span.attributes, name)
    }

    /// Milliseconds from start to end.
    pub fn took_ms(&self) -> f64 {
        self.span.end_time_unix_nano.saturating_sub(self.span.start_time_unix_nano) as f64 / 1e6
    }

    pub fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    pub fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }
}

/// All spans that have come.
pub struct Spans {
    /// Where services send them.
    pub endpoint: String,
    pub seen: Vec<Seen>,
    requests: Receiver<ExportTraceServiceRequest>,
}

impl Spans {
    /// Starts a collector. A real one behind it gets everything as well: `REAL_OTLP` is its address.
    pub fn collect() -> Self {
        let (endpoint, requests) = grpc_before(std::env::var("REAL_OTLP").ok());
        Self { endpoint, seen: Vec::new(), requests }
    }

    /// Those of a trace, as soon as every name in `wanted` is there.
    #[track_caller]
    pub fn of_trace(&mut self, trace: &str, wanted: &[String]) -> Vec<Seen> {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let of: Vec<Seen> = self.seen.iter().filter(|it| hex(&it.span.trace_id) == trace).cloned().collect();
            let missing: Vec<_> = wanted.iter().filter(|name| !of.iter().any(|it| it.span.name == **name)).collect();
            if missing.is_empty() {
                return of;
            }
            let names: Vec<_> = of.iter().map(|it| (it.service.as_str(), it.span.name.as_str())).collect();
            assert!(Instant::now() < deadline, "trace {trace} lacks {missing:?}; it has {names:?}");
            if let Ok(request) = self.requests.recv_timeout(Duration::from_millis(200)) {
                self.take(request);
            }
        }
    }

    /// Takes what comes until `done`.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut done: impl FnMut(&[Seen]) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(15);
        while !done(&self.seen) {
            assert!(Instant::now() < deadline, "waited in vain for {what}; {} spans have come", self.seen.len());
            if let Ok(request) = self.requests.recv_timeout(Duration::from_millis(200)) {
                self.take(request);
            }
        }
    }

    /// What processes sent before they ended.
    pub fn collect_rest(&mut self) {
        while let Ok(request) = self.requests.try_recv() {
            self.take(request);
        }
    }

    fn take(&mut self, request: ExportTraceServiceRequest) {
        self.seen.extend(spans_of(request).into_iter().map(|(service, span)| Seen { service, span }));
    }
}

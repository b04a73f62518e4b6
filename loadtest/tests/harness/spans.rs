//! An OpenTelemetry collector for tests, and what it has received.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::transport::Channel;

struct Collector {
    received: Sender<ExportTraceServiceRequest>,
    /// A real one behind this one: `REAL_OTLP` names it.
    behind: Option<TraceServiceClient<Channel>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let request = request.into_inner();
        if let Some(behind) = &self.behind {
            behind.clone().export(request.clone()).await?;
        }
        let _ = self.received.send(request);
        Ok(tonic::Response::new(ExportTraceServiceResponse { partial_success: None }))
    }
}

/// A collector on a thread of its own: its address, and what arrives.
fn collector() -> (String, Receiver<ExportTraceServiceRequest>) {
    let (received, requests) = channel();
    let (bound, address) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let behind = std::env::var("REAL_OTLP")
                .ok()
                .map(|address| TraceServiceClient::new(Channel::from_shared(address).unwrap().connect_lazy()));
            bound.send(listener.local_addr().unwrap()).unwrap();
            let server = tonic::transport::Server::builder()
                .add_service(TraceServiceServer::new(Collector { received, behind }));
            server.serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener)).await.unwrap();
        });
    });
    (format!("http://{}", address.recv_timeout(Duration::from_secs(5)).unwrap()), requests)
}

/// A span with the name of the service it came from.
#[derive(Clone, Debug)]
pub struct Seen {
    pub service: String,
    pub span: Span,
}

impl Seen {
    pub fn attribute(&self, name: &str) -> Option<String> {
        text(&self.span.attributes, name)
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

fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    match attributes.iter().find(|it| it.key == name)?.value.clone()?.value? {
        Any::StringValue(text) => Some(text),
        Any::IntValue(number) => Some(number.to_string()),
        Any::BoolValue(yes) => Some(yes.to_string()),
        other => Some(format!("{other:?}")),
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All spans that have come.
pub struct Spans {
    /// Where services send them.
    pub endpoint: String,
    pub seen: Vec<Seen>,
    requests: Receiver<ExportTraceServiceRequest>,
}

impl Spans {
    /// Starts a collector.
    pub fn collect() -> Self {
        let (endpoint, requests) = collector();
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
        for resource in request.resource_spans {
            let service = text(&resource.resource.unwrap_or_default().attributes, "service.name").unwrap_or_default();
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.seen.extend(spans.map(|span| Seen { service: service.clone(), span }));
        }
    }
}

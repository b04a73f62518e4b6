//! An OpenTelemetry collector in the test process, over OTLP/gRPC.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use forebay_contract::Hex;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::transport::{Channel, Identity, ServerTlsConfig};

/// How long the server may take to listen.
const START_LIMIT: Duration = Duration::from_secs(5);

struct Collector {
    received: Sender<ExportTraceServiceRequest>,
    /// A collector that gets everything as well.
    next: Option<TraceServiceClient<Channel>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let request = request.into_inner();
        if let Some(next) = &self.next {
            next.clone().export(request.clone()).await?;
        }
        // a test that has ended reads no more
        _ = self.received.send(request);
        Ok(tonic::Response::new(ExportTraceServiceResponse { partial_success: None }))
    }
}

/// Starts a collector on its own thread. Returns its address and what it receives.
pub fn grpc() -> (String, Receiver<ExportTraceServiceRequest>) {
    let (port, requests) = serve(None, None);
    (format!("http://127.0.0.1:{port}"), requests)
}

/// As [`grpc`], and hands everything on to the collector at `next`, if there is one.
pub fn grpc_before(next: Option<String>) -> (String, Receiver<ExportTraceServiceRequest>) {
    let (port, requests) = serve(None, next);
    (format!("http://127.0.0.1:{port}"), requests)
}

/// As [`grpc`], over TLS with this certificate and key (PEM) for `localhost`.
pub fn grpc_tls(certificate: &str, key: &str) -> (String, Receiver<ExportTraceServiceRequest>) {
    let (port, requests) = serve(Some(Identity::from_pem(certificate, key)), None);
    (format!("https://localhost:{port}"), requests)
}

fn serve(identity: Option<Identity>, next: Option<String>) -> (u16, Receiver<ExportTraceServiceRequest>) {
    let (received, requests) = channel();
    let (bound, address) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let connect =
                |address: String| TraceServiceClient::new(Channel::from_shared(address).unwrap().connect_lazy());
            let collector = Collector { received, next: next.map(connect) };
            bound.send(listener.local_addr().unwrap()).unwrap();
            let mut server = tonic::transport::Server::builder();
            if let Some(identity) = identity {
                server = server.tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
            }
            let server = server.add_service(TraceServiceServer::new(collector));
            server.serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener)).await.unwrap();
        });
    });
    (address.recv_timeout(START_LIMIT).unwrap().port(), requests)
}

/// All spans that have arrived, with the name of the service that sent them.
pub fn spans(requests: &Receiver<ExportTraceServiceRequest>) -> Vec<(String, Span)> {
    requests.try_iter().flat_map(spans_of).collect()
}

/// The spans of one request to a collector, with the name of the service that sent them.
pub fn spans_of(request: ExportTraceServiceRequest) -> Vec<(String, Span)> {
    let mut found = Vec::new();
    for resource in request.resource_spans {
        let name =
            attribute(&resource.resource.unwrap_or_default().attributes, "service.name").expect("no service.name");
        let inner = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        found.extend(inner.map(|span| (name.clone(), span)));
    }
    found
}

/// The id of a trace or a span, as it is shown.
pub fn hex(id: &[u8]) -> String {
    Hex(id).to_string()
}

/// The value of an attribute as text.
pub fn attribute(attributes: &[KeyValue], name: &str) -> Option<String> {
    match attributes.iter().find(|it| it.key == name)?.value.clone()?.value? {
        Any::StringValue(text) => Some(text),
        Any::IntValue(number) => Some(number.to_string()),
        Any::BoolValue(yes) => Some(yes.to_string()),
        other => Some(format!("{other:?}")),
    }
}

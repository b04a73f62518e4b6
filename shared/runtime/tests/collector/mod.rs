//! An OTLP receiver over gRPC in the test process.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::transport::{Identity, ServerTlsConfig};

const PATIENCE: Duration = Duration::from_secs(5);

struct Collector(Sender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.0.send(request.into_inner()).unwrap();
        Ok(tonic::Response::new(ExportTraceServiceResponse { partial_success: None }))
    }
}

/// A gRPC receiver on a thread of its own; gives its address and what arrives.
pub(crate) fn grpc() -> (String, Receiver<ExportTraceServiceRequest>) {
    let (port, requests) = serve(None);
    (format!("http://127.0.0.1:{port}"), requests)
}

/// As [`grpc`], over TLS with this certificate and key (PEM) for `localhost`.
#[allow(dead_code, reason = "not every test that shares this file asks for TLS")]
pub(crate) fn grpc_tls(certificate: &str, key: &str) -> (String, Receiver<ExportTraceServiceRequest>) {
    let (port, requests) = serve(Some(Identity::from_pem(certificate, key)));
    (format!("https://localhost:{port}"), requests)
}

fn serve(identity: Option<Identity>) -> (u16, Receiver<ExportTraceServiceRequest>) {
    let (received, requests) = channel();
    let (bound, address) = channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            bound.send(listener.local_addr().unwrap()).unwrap();
            let mut server = tonic::transport::Server::builder();
            if let Some(identity) = identity {
                server = server.tls_config(ServerTlsConfig::new().identity(identity)).unwrap();
            }
            let server = server.add_service(TraceServiceServer::new(Collector(received)));
            server.serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener)).await.unwrap();
        });
    });
    (address.recv_timeout(PATIENCE).unwrap().port(), requests)
}

/// All spans that have arrived, with their service's name.
pub(crate) fn spans(requests: &Receiver<ExportTraceServiceRequest>) -> Vec<(String, Span)> {
    let mut found = Vec::new();
    for resource in requests.try_iter().flat_map(|request| request.resource_spans) {
        let attributes = resource.resource.unwrap().attributes;
        let name = attributes.iter().find(|it| it.key == "service.name").unwrap();
        let Some(Any::StringValue(name)) = name.value.clone().unwrap().value else { panic!("no name") };
        let inner = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        found.extend(inner.map(|span| (name.clone(), span)));
    }
    found
}

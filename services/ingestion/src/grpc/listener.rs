//! The listener: opened, served on threads of its own, and closed when the process drains.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use forebay_runtime::{Component, Host, Lifecycle, StartError};
use futures_util::stream;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic_health::server::HealthReporter;

use super::arrival::Meter;
use super::arriving_body::MAX_PUBLIC_MESSAGE;
use super::connection::{Connection, ConnectionLimits, accept};
use super::open_calls::OpenCalls;
use super::proto::DESCRIPTORS;
use super::proto::grpc_inference_service_server::GrpcInferenceServiceServer;
use super::service::Inference;
use crate::http::{HttpState, ModelListing};
use crate::settings::GrpcSettings;

/// Name of the service, as health checks ask for it.
const SERVICE: &str = "inference.GRPCInferenceService";
/// Most calls and streams of one connection at a time.
const MAX_STREAMS: u32 = 100;
/// Bytes that may be on their way to one call, and to all calls of a connection, before they are read.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 128 << 10;
/// Longest head of a call.
const MAX_HEAD: u32 = 16 << 10;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// How long the last answers may take to leave. Streams that are still open then are cut.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The open gRPC listener. Clones refer to the same one.
#[derive(Clone, Debug)]
pub struct GrpcListener {
    /// The address it listens on.
    pub address: SocketAddr,
    /// Whether it speaks TLS.
    pub secure: bool,
    state: HttpState,
    /// Tells the server that no caller waits any more.
    unused: Arc<watch::Sender<bool>>,
    /// Whether the server has ended.
    ended: watch::Receiver<bool>,
}

impl GrpcListener {
    /// Waits up to `limit` for pending requests, then closes; the calls after the drain began are refused.
    pub async fn close(mut self, limit: Duration) {
        // a call that is longer than the limit is reported by the HTTP listener, which waits for the same requests
        drop(tokio::time::timeout(limit, self.state.pending.idle()).await);
        self.unused.send_replace(true);
        drop(tokio::time::timeout(2 * LAST_ANSWERS, self.ended.wait_for(|ended| *ended)).await);
    }
}

/// Opens the listener, with the certificates and the limits of the HTTP listener; `None` if the settings turn it off or
/// another program has the address, so that two replicas on one machine need no more settings than before.
///
/// # Errors
/// If the address cannot be bound or a certificate cannot be used; the error names the setting.
pub(crate) fn serve(
    state: HttpState,
    models: ModelListing,
    settings: &GrpcSettings,
    host: &Host,
) -> Result<Option<GrpcListener>, StartError> {
    if !settings.enabled {
        return Ok(None);
    }
    let listen = settings.listen;
    let bound = std::net::TcpListener::bind(listen).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok((listener.local_addr()?, listener))
    });
    let (address, listener) = match bound {
        Ok(bound) => bound,
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            tracing::warn!(address = %listen, "grpc listener not open: the address is taken by another program");
            return Ok(None);
        }
        Err(error) => return Err(StartError::bind("grpc.listen", listen, &error)),
    };
    let tls = acceptor(&state)?;
    let secure = tls.is_some();
    state.exposure.report("grpc", address, secure, state.authenticator.is_on());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(state.http.workers)
        .thread_name("grpc")
        .enable_all()
        .build()
        .map_err(StartError::failed)?;
    let (lifecycle, component) = (host.lifecycle().clone(), host.lifecycle().register("grpc server"));
    let (unused, unused_receiver) = watch::channel(false);
    let (ended_sender, ended) = watch::channel(false);
    let opened = GrpcListener { address, secure, state: state.clone(), unused: Arc::new(unused), ended };
    let settings = settings.clone();
    let run = move || {
        let inference = Inference { state: Arc::new(state), models };
        runtime.block_on(run((listener, tls), &settings, inference, unused_receiver, &lifecycle, &component));
        runtime.shutdown_background();
        component.finished();
        ended_sender.send_replace(true);
    };
    std::thread::Builder::new().name("grpc listener".to_owned()).spawn(run).map_err(StartError::failed)?;
    Ok(Some(opened))
}

/// TLS with the certificates of the HTTP listener, which keeps them up to date.
fn acceptor(state: &HttpState) -> Result<Option<TlsAcceptor>, StartError> {
    let Some(certificates) = &state.certificates else { return Ok(None) };
    let config = certificates.config();
    let mut config = config.map_err(|error| StartError::setting("http.tls.cert_file", error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Some(TlsAcceptor::from(Arc::new(config))))
}

/// The descriptors of all services, for both versions of reflection.
fn descriptors<'d>() -> tonic_reflection::server::Builder<'d> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// The service of inference. It takes and sends compressed messages.
fn inference_server(inference: Inference, max_body: usize) -> GrpcInferenceServiceServer<Inference> {
    GrpcInferenceServiceServer::new(inference)
        .max_decoding_message_size(max_body)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Deflate)
        .send_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Deflate)
}

async fn run(
    (listener, tls): (std::net::TcpListener, Option<TlsAcceptor>),
    settings: &GrpcSettings,
    inference: Inference,
    mut unused: watch::Receiver<bool>,
    lifecycle: &Lifecycle,
    component: &Component,
) {
    let http = &inference.state.http;
    let (max_body, limits) = (http.max_body, ConnectionLimits::new(http, settings));
    let open = OpenCalls::new(http.max_requests, settings.max_streams);
    let opened = TcpListener::from_std(listener).and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (address, listener) = match opened {
        Ok(opened) => opened,
        Err(error) => return lifecycle.fail(format!("the grpc listener cannot be used: {error}")),
    };
    let (sender, connections) = mpsc::channel::<Connection>(64);
    tokio::spawn(accept(listener, tls, settings.max_connections, limits, sender));
    let incoming = stream::unfold(connections, |mut connections| async {
        connections.recv().await.map(|connection| (Ok::<_, std::io::Error>(connection), connections))
    });
    let (reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(report_health(reporter, inference.clone()));
    // both versions: grpcio's client asks for the second one alone
    let (reflection, reflection_alpha) = match (descriptors().build_v1(), descriptors().build_v1alpha()) {
        (Ok(reflection), Ok(alpha)) => (reflection, alpha),
        (Err(error), _) | (_, Err(error)) => {
            return lifecycle.fail(format!("the grpc descriptors cannot be used: {error}"));
        }
    };
    let meter = Meter { state: Arc::clone(&inference.state), open, stream_idle: settings.stream_idle };
    let service = inference_server(inference, max_body);
    component.ready();
    tracing::info!(%address, "grpc listener open");
    let server = Server::builder()
        .max_concurrent_streams(Some(MAX_STREAMS))
        .initial_stream_window_size(Some(STREAM_WINDOW))
        .initial_connection_window_size(Some(CONNECTION_WINDOW))
        .http2_max_header_list_size(Some(MAX_HEAD))
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .add_service(meter.wrap(health.max_decoding_message_size(MAX_PUBLIC_MESSAGE)))
        .add_service(meter.wrap(reflection.max_decoding_message_size(MAX_PUBLIC_MESSAGE)))
        .add_service(meter.wrap(reflection_alpha.max_decoding_message_size(MAX_PUBLIC_MESSAGE)))
        .add_service(meter.wrap(service))
        .serve_with_incoming_shutdown(incoming, lifecycle.draining());
    let late = async {
        // if the listener is dropped instead of closed, it is no longer in use either
        drop(unused.wait_for(|unused| *unused).await);
        lifecycle.draining().await;
        tokio::time::sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        served = server => {
            if let Err(error) = served {
                tracing::error!(%error, "grpc server failed");
            }
        }
        () = late => {}
    }
}

/// Keeps the health service up to date.
async fn report_health(reporter: HealthReporter, inference: Inference) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        let status = match inference.ready() {
            Ok(()) => tonic_health::ServingStatus::Serving,
            Err(_) => tonic_health::ServingStatus::NotServing,
        };
        for name in ["", SERVICE] {
            reporter.set_service_status(name, status).await;
        }
    }
}

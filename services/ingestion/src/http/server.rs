//! The listener: opened, served and closed.

use std::any::Any;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::HttpService;
use actix_server::{Server, ServerHandle};
use actix_service::{IntoServiceFactory as _, ServiceExt as _, ServiceFactory as _, ServiceFactoryExt as _};
use actix_service::{boxed, fn_factory, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::{App, web};
use forebay_runtime::prometheus_client::metrics::counter::Counter;
use forebay_runtime::prometheus_client::metrics::gauge::Gauge;
use forebay_runtime::{Component, Host, Lifecycle, StartError};
use tokio::net::{TcpSocket, TcpStream};

use super::async_results;
use super::connection::{Acceptor, Connections};
use super::cors::cors;
use super::http2::{Application, Http2};
use super::model_list::ModelListing;
use super::routes::routes;
use super::state::HttpState;
use super::tls::ServerCertificates;
use crate::periodic;
use crate::settings::HttpSettings;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// How long the listener keeps answering new requests with 503 before it closes.
const CLOSE_DELAY: Duration = Duration::from_millis(200);
/// How long answers that callers ask for later may take to be stored before it closes.
const STORE_DELAY: Duration = Duration::from_secs(1);

/// The open HTTP listener. Clones refer to the same one.
#[derive(Clone)]
pub struct HttpListener {
    /// The address it listens on.
    pub address: SocketAddr,
    /// Whether it speaks TLS.
    pub secure: bool,
    /// The address of the gRPC listener of the same stage, if it is open.
    pub grpc: Option<SocketAddr>,
    server: ServerHandle,
    state: HttpState,
    /// Keeps the actors of the stage alive for as long as the listener, even if nothing else does.
    _stage: Arc<dyn Any + Send + Sync>,
}

impl std::fmt::Debug for HttpListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpListener").field("address", &self.address).finish_non_exhaustive()
    }
}

impl HttpListener {
    /// The URL under which clients on this machine reach it.
    pub fn url(&self) -> String {
        let scheme = if self.secure { "https" } else { "http" };
        // no address that a client connects to, nor one that a certificate names
        match self.address.ip().is_unspecified() {
            true => format!("{scheme}://localhost:{}", self.address.port()),
            false => format!("{scheme}://{}", self.address),
        }
    }

    /// Whether callers need credentials.
    pub fn needs_credentials(&self) -> bool {
        self.state.authenticator.is_on()
    }

    /// Waits up to `limit` for pending requests, then closes. New requests are rejected once the process drains.
    pub async fn close(self, limit: Duration) {
        // callers that are just connecting get a 503 instead of a refused connection
        tokio::time::sleep(CLOSE_DELAY.min(limit)).await;
        if tokio::time::timeout(limit, self.state.pending.idle()).await.is_err() {
            tracing::warn!(requests = self.state.pending.len(), "http requests left unanswered at shutdown");
        }
        if let Some(results) = &self.state.async_results {
            // stored within a moment, if the store answers; else another replica takes them over
            if tokio::time::timeout(STORE_DELAY.min(limit), results.idle()).await.is_err() {
                results.release().await;
            }
        }
        self.server.stop(true).await;
    }
}

/// Opens the listener on the current actix system and starts reloading its credentials and certificates. `stage` lives at
/// least as long as the listener.
///
/// # Errors
/// If the address cannot be bound or a certificate cannot be used; the error names the setting.
pub(crate) fn serve(
    state: HttpState,
    models: ModelListing,
    host: &Host,
    stage: Arc<dyn Any + Send + Sync>,
) -> Result<HttpListener, StartError> {
    let component = host.lifecycle().register("http server");
    let (server, address) = match listen(&state, models, host.lifecycle()) {
        Ok(listening) => listening,
        Err(error) => {
            component.finished();
            return Err(error);
        }
    };
    state.authenticator.start_refresh(host.lifecycle());
    async_results::renew_leases(&state);
    let secure = state.certificates.is_some();
    if let Some(certificates) = &state.certificates {
        follow_certificates(Arc::clone(certificates), &state.http, host);
    }
    state.exposure.report("http", address, secure, state.authenticator.is_on());
    let handle = server.handle();
    run(server, component, host, address);
    Ok(HttpListener { address, secure, grpc: None, server: handle, state, _stage: stage })
}

fn listen(state: &HttpState, models: ModelListing, lifecycle: &Lifecycle) -> Result<(Server, SocketAddr), StartError> {
    let http = state.http.clone();
    let (acceptor, http2) = (Acceptor::new(state)?, Http2::new(&http));
    let (state, models) = (web::Data::new(state.clone()), web::Data::new(models));
    let lifecycle = lifecycle.clone();
    let failed = |error: std::io::Error| StartError::bind("http.listen", http.listen, &error);
    let (listener, address) = bind(http.listen).map_err(failed)?;
    let server = Server::build()
        .workers(http.workers)
        .max_concurrent_connections(http.max_connections)
        .backlog(BACKLOG)
        .shutdown_timeout(2)
        .disable_signals();
    let shutdown = server.graceful_shutdown_signal();
    let worker_settings = http.clone();
    let server = server.listen("http", listener, move || {
        // called on the thread of each worker as it starts; the task ends with the worker
        actix_web::rt::spawn(lifecycle.heartbeat("http worker").beat_from_task());
        let (http, acceptor, http2, shutdown) = (&worker_settings, acceptor.clone(), http2.clone(), shutdown.clone());
        let app = || {
            let app = App::new().app_data(state.clone()).app_data(models.clone()).configure(routes);
            app.wrap(cors(&http.cors_origins)).into_factory()
        };
        let stopping = shutdown.clone();
        let one = app().map_err(|error| error.error_response());
        let one = HttpService::build()
            .graceful_shutdown_signal(move || {
                let stopping = stopping.clone();
                async move { stopping.notified().await }
            })
            .keep_alive(http.keep_alive)
            .client_request_timeout(http.head_timeout)
            .client_disconnect_timeout(Duration::from_secs(1))
            // a caller that hangs up releases its permits: its half-open connection is not served any further
            .h1_allow_half_closed(false)
            .local_addr(address)
            .h1(map_config(one, |()| AppConfig::default()));
        let (one, two) = (Rc::new(one), Rc::new(app()));
        fn_factory(move || {
            let (one, two) = (Rc::clone(&one), Rc::clone(&two));
            let (acceptor, http2, shutdown) = (acceptor.clone(), http2.clone(), shutdown.clone());
            async move {
                let (one, two) = (one.new_service(()).await?, two.new_service(AppConfig::default()).await?);
                let two = two.map(|response| response.map_into_boxed_body().into_parts().1);
                let (one, two): (_, Application) = (Rc::new(one), Rc::new(boxed::service(two)));
                let connections = Connections { one, two, acceptor, http2, shutdown };
                Ok::<_, ()>(fn_service(move |stream: TcpStream| connections.clone().serve(stream)))
            }
        })
    });
    Ok((server.map_err(failed)?.run(), address))
}

/// Binds the address.
fn bind(address: SocketAddr) -> std::io::Result<(std::net::TcpListener, SocketAddr)> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?.into_std()?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// Reloads the certificate files when they change, and exports when the certificate in use expires.
fn follow_certificates(certificates: Arc<ServerCertificates>, http: &HttpSettings, host: &Host) {
    let (expiry, failures) = (Gauge::<i64>::default(), Counter::<u64>::default());
    let help = "When the certificate of the HTTP listener expires, Unix time";
    host.metrics().register("forebay_tls_certificate_expiry_timestamp_seconds", help, expiry.clone());
    let help = "Failed reloads of the HTTP listener's certificates; the previous ones stay in use";
    host.metrics().register("forebay_tls_reload_failures", help, failures.clone());
    expiry.set(certificates.expiry_s().unwrap_or_default());
    periodic::every(http.tls.refresh, host.lifecycle(), "tls certificates", move || {
        if !certificates.refresh() {
            failures.inc();
        }
        expiry.set(certificates.expiry_s().unwrap_or_default());
    });
}

fn run(server: Server, component: Component, host: &Host, address: SocketAddr) {
    let lifecycle = host.lifecycle().clone();
    actix_web::rt::spawn(async move {
        component.ready();
        tracing::info!(%address, "http listener open");
        if let Err(error) = server.await {
            tracing::error!(%error, "http server failed");
        }
        if lifecycle.is_draining() {
            component.finished();
        }
    });
}

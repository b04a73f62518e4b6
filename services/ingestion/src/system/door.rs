//! The HTTP door, opened and closed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::{App, HttpServer, web};
use forebay_runtime::prometheus_client::metrics::counter::Counter;
use forebay_runtime::prometheus_client::metrics::gauge::Gauge;
use forebay_runtime::{Component, Host, StartError, is_exposed};

use super::Ingestion;
use crate::doors::{cors, routes};
use crate::follow;
use crate::settings::Http;
use crate::tls::Certificates;
use crate::waiters::Waiters;

/// How long the door goes on refusing new requests before it closes.
const LAST_CALL: Duration = Duration::from_millis(200);

/// The HTTP door, open.
#[derive(Clone, Debug)]
pub struct HttpDoor {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it speaks TLS.
    pub secure: bool,
    server: ServerHandle,
    waiters: Waiters,
    /// Its actors live as long as the door, whether or not a Kafka door holds them as well.
    stage: Ingestion,
}

impl HttpDoor {
    /// How clients of this machine write its address.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.secure { "https" } else { "http" }, self.address)
    }

    /// Whether callers need credentials.
    pub fn asks_for_credentials(&self) -> bool {
        self.stage.predict.gate.is_on()
    }

    /// Waits for callers that still wait, up to `limit`, then closes. New requests are refused once the process drains.
    pub async fn close(self, limit: Duration) {
        // callers whose connection is just being made are told 503, and do not find a closed door
        tokio::time::sleep(LAST_CALL.min(limit)).await;
        if tokio::time::timeout(limit, self.waiters.idle()).await.is_err() {
            tracing::warn!(asks = self.waiters.len(), "callers are left without an answer");
        }
        self.server.stop(true).await;
    }
}

impl Ingestion {
    /// Opens the HTTP door on the current actix system, and follows the files of its credentials and certificates.
    ///
    /// # Errors
    /// When the address cannot be listened on, or a certificate cannot be used: names the setting.
    pub fn serve_http(&self, host: &Host) -> Result<HttpDoor, StartError> {
        let http = &self.predict.http;
        let certificates = http.tls.is_on().then(|| Certificates::open(&http.tls)).transpose();
        let certificates = certificates.map_err(|(key, text)| StartError::setting(key, text))?;
        let component = host.lifecycle().register("http door");
        let (server, address) = match self.listen(http, certificates.as_ref()) {
            Ok(listening) => listening,
            Err(error) => {
                component.finished();
                return Err(error);
            }
        };
        self.predict.gate.follow(host.lifecycle());
        let secure = certificates.is_some();
        if let Some(certificates) = certificates {
            follow_files(certificates, http, host);
        }
        self.warn_if_open(address, secure);
        let handle = server.handle();
        run(server, component, host, address);
        Ok(HttpDoor { address, secure, server: handle, waiters: self.waiters.clone(), stage: self.clone() })
    }

    fn listen(
        &self,
        http: &Http,
        certificates: Option<&Arc<Certificates>>,
    ) -> Result<(actix_web::dev::Server, SocketAddr), StartError> {
        let door = web::Data::new(self.predict.clone());
        let catalog = web::Data::new(self.catalog.clone());
        let origins = http.cors_origins.clone();
        let app =
            move || App::new().app_data(door.clone()).app_data(catalog.clone()).configure(routes).wrap(cors(&origins));
        let server = HttpServer::new(app)
            .workers(http.workers)
            .max_connections(http.max_connections)
            .keep_alive(http.keep_alive)
            .client_request_timeout(http.head_timeout)
            .tls_handshake_timeout(http.head_timeout)
            .client_disconnect_timeout(Duration::from_secs(1))
            // a caller that hangs up frees its place: its half-open connection is not served on
            .h1_allow_half_closed(false)
            .backlog(1024)
            .shutdown_timeout(2)
            .disable_signals();
        let bound = match certificates {
            None => server.bind(http.listen),
            Some(certificates) => {
                let config = certificates.config();
                let config = config.map_err(|error| StartError::setting("http.tls.cert_file", error.to_string()))?;
                server.bind_rustls_0_23(http.listen, config)
            }
        };
        let server = bound.map_err(|error| StartError::bind("http.listen", http.listen, &error))?;
        let address = server.addrs().first().copied().unwrap_or(http.listen);
        Ok((server.run(), address))
    }

    fn warn_if_open(&self, address: SocketAddr, secure: bool) {
        if !is_exposed(address) {
            return;
        }
        if !self.predict.gate.is_on() {
            tracing::warn!(%address, "the http door is open to the network without credentials: see [auth]");
        } else if !secure {
            tracing::warn!(%address, "credentials pass the network in the clear: see [http.tls]");
        }
    }
}

/// Looks at the certificates' files again and again, and shows when the one in use ends.
fn follow_files(certificates: Arc<Certificates>, http: &Http, host: &Host) {
    let (expiry, failures) = (Gauge::<i64>::default(), Counter::<u64>::default());
    let help = "When the certificate of the HTTP door ends, Unix time";
    host.metrics().register("forebay_tls_certificate_expiry_timestamp_seconds", help, expiry.clone());
    let help = "Reads of the HTTP door's certificates that failed and left the old ones in use";
    host.metrics().register("forebay_tls_reload_failures", help, failures.clone());
    expiry.set(certificates.expiry_s().unwrap_or_default());
    follow::every(http.tls.refresh, host.lifecycle(), "tls certificates", move || {
        if !certificates.refresh() {
            failures.inc();
        }
        expiry.set(certificates.expiry_s().unwrap_or_default());
    });
}

fn run(server: actix_web::dev::Server, component: Component, host: &Host, address: SocketAddr) {
    let lifecycle = host.lifecycle().clone();
    actix_rt::spawn(async move {
        component.ready();
        tracing::info!(%address, "http door is open");
        if let Err(error) = server.await {
            tracing::error!(%error, "http door failed");
        }
        if lifecycle.is_draining() {
            component.finished();
        }
    });
}

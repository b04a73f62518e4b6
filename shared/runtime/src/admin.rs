//! The admin endpoint: `/health/live`, `/health/ready`, `/metrics` and the routes that services add. It has a separate
//! port and thread, so that it answers however busy the HTTP endpoint for requests is.

mod routes;

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::http::Method;
use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT, HeaderName, HeaderValue};
use actix_web::web::{Data, Payload, get, head, resource, to};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use serde_json::json;

pub use routes::{AdminRoutes, PostRequest, PostResponse};

use crate::host::StartError;
use crate::lifecycle::{ComponentState, Lifecycle};
use crate::metrics::Metrics;

/// The largest body of a request to a route that a service added, in bytes.
const LARGEST_BODY: usize = 256 * 1024;
/// How long such a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The admin endpoint cannot listen on its address.
#[derive(Debug, thiserror::Error)]
#[error("admin.listen {address}: {source}")]
pub struct AdminError {
    /// The address.
    pub address: SocketAddr,
    /// Why.
    pub source: std::io::Error,
}

impl From<AdminError> for StartError {
    fn from(error: AdminError) -> Self {
        let hint = "set FOREBAY__ADMIN__LISTEN, for example 127.0.0.1:8001";
        match Self::bind("admin.listen", error.address, &error.source) {
            Self::Setting { key, text } => Self::Setting { key, text: format!("{text}; {hint}") },
            other => other,
        }
    }
}

/// The running endpoint.
#[derive(Debug)]
pub struct AdminServer {
    address: SocketAddr,
    handle: ServerHandle,
}

/// The parts that the handlers read.
struct AdminState {
    lifecycle: Lifecycle,
    metrics: Metrics,
}

impl AdminServer {
    /// Listens on `listen` (port 0 takes a free port) with one worker thread. Must be called inside an actix system.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn start(listen: SocketAddr, lifecycle: &Lifecycle, metrics: &Metrics) -> Result<Self, AdminError> {
        Self::start_with(listen, lifecycle, metrics, &AdminRoutes::default())
    }

    /// As [`AdminServer::start`], with the routes that services have added or will add.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn start_with(
        listen: SocketAddr,
        lifecycle: &Lifecycle,
        metrics: &Metrics,
        routes: &AdminRoutes,
    ) -> Result<Self, AdminError> {
        let wrong = |source| AdminError { address: listen, source };
        let state = Data::new(AdminState { lifecycle: lifecycle.clone(), metrics: metrics.clone() });
        let routes = Data::new(routes.clone());
        // std's listener sets SO_REUSEADDR but not SO_REUSEPORT, so a second process cannot listen as well.
        let listener = TcpListener::bind(listen).map_err(wrong)?;
        let address = listener.local_addr().map_err(wrong)?;
        let app = move || {
            App::new()
                .app_data(state.clone())
                .app_data(routes.clone())
                .service(resource("/health/live").route(get().to(live)).route(head().to(live)))
                .service(resource("/health/ready").route(get().to(ready)).route(head().to(ready)))
                .service(resource("/metrics").route(get().to(scrape)).route(head().to(scrape)))
                .default_service(to(added))
        };
        let server = HttpServer::new(app).workers(1).disable_signals().shutdown_timeout(1).listen(listener);
        let server = server.map_err(wrong)?.run();
        let handle = server.handle();
        actix_rt::spawn(server);
        Ok(Self { address, handle })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops listening.
    pub async fn stop(self) {
        self.handle.stop(false).await;
    }
}

async fn live(state: Data<AdminState>) -> HttpResponse {
    let stalled = state.lifecycle.stalled();
    let alive = stalled.is_empty();
    let status = if alive { "alive" } else { "stalled" };
    HttpResponse::build(code(alive)).json(json!({ "status": status, "stalled": stalled }))
}

async fn ready(state: Data<AdminState>) -> HttpResponse {
    let ready = state.lifecycle.is_ready();
    let status = match (state.lifecycle.is_draining(), ready) {
        (true, _) => "draining",
        (false, true) => "ready",
        (false, false) => "unready",
    };
    let component =
        |it: ComponentState| json!({ "name": it.name, "ready": it.unready.is_none(), "reason": it.unready });
    let components: Vec<_> = state.lifecycle.components().into_iter().map(component).collect();
    HttpResponse::build(code(ready)).json(json!({ "status": status, "components": components }))
}

/// OpenMetrics with exemplars if the client accepts it, as Prometheus does; else Prometheus' text format.
async fn scrape(request: HttpRequest, state: Data<AdminState>) -> HttpResponse {
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let open = accept.contains("application/openmetrics-text");
    let (encoded, kind) = match open {
        true => (state.metrics.encode(), OPEN_METRICS),
        false => (state.metrics.encode_prometheus_text(), PROMETHEUS_TEXT),
    };
    match encoded {
        Ok(text) => HttpResponse::Ok().content_type(kind).body(text),
        Err(error) => HttpResponse::InternalServerError().body(error.to_string()),
    }
}

/// Answers with the route that a service added for the path.
async fn added(request: HttpRequest, payload: Payload, routes: Data<AdminRoutes>) -> HttpResponse {
    let path = request.path();
    if !routes.has(path) {
        return HttpResponse::NotFound().finish();
    }
    if request.method() != Method::POST {
        return HttpResponse::MethodNotAllowed().finish();
    }
    let body = match actix_rt::time::timeout(BODY_TIME, payload.to_bytes_limited(LARGEST_BODY)).await {
        Ok(Ok(Ok(body))) => body,
        Ok(Ok(Err(_))) => return refused(StatusCode::BAD_REQUEST, "the body cannot be read"),
        Ok(Err(_)) => return refused(StatusCode::PAYLOAD_TOO_LARGE, "the body has more than 256 KiB"),
        Err(_) => return refused(StatusCode::REQUEST_TIMEOUT, "the body did not come in time"),
    };
    let text = |(name, value)| Some((HeaderName::as_str(name), HeaderValue::to_str(value).ok()?));
    let headers: Vec<(&str, &str)> = request.headers().iter().filter_map(text).collect();
    let posted = PostRequest { headers: &headers, body: &body, peer: request.peer_addr() };
    match routes.answer(path, &posted) {
        Some(response) => HttpResponse::build(status(response.status)).json(response.body),
        None => HttpResponse::NotFound().finish(),
    }
}

fn refused(status: StatusCode, why: &str) -> HttpResponse {
    HttpResponse::build(status).json(json!({ "error": why }))
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn code(good: bool) -> StatusCode {
    if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

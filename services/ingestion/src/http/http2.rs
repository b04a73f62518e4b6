//! HTTP/2: hyper serves the connections, with bounds, and the same application as for HTTP/1 answers their requests.

mod answer_body;
mod request_body;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use actix_http::{BoxedPayloadStream, Method, Payload, Request, Version};
use actix_service::Service as _;
use actix_service::boxed::BoxService;
use actix_web::HttpResponse;
use actix_web::body::{BodySize, MessageBody as _};
use actix_web::http::Uri;
use actix_web::http::header::{HOST, HeaderName, HeaderValue};
use answer_body::AnswerBody;
use forebay_bus::{Permit, Permits};
use forebay_contract::ErrorCode;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use request_body::RequestBody;

use super::models::rejected;
use crate::in_work::{Counted, InWork};
use crate::net_stream::NetStream;
use crate::rejection::HttpRejection;
use crate::settings::HttpSettings;

/// Most requests of one connection at a time.
const MAX_STREAMS: u32 = 100;
/// Bytes that may be on their way to one request, and to all of a connection, before they are read.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 64 << 10;
/// Bytes of an answer that wait for its reader beside the answer itself.
const MAX_SEND_BUFFER: usize = 64 << 10;
/// Longest head of a request.
const MAX_HEAD: u32 = 16 << 10;
/// Requests that a client may reset before they are looked at, and that may be reset for its errors.
const MAX_RESETS: usize = 20;
const MAX_ERROR_RESETS: usize = 100;
/// How often a client is asked whether it is there, and how long it may take to say so.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// How long a connection may take to end once its client knows that it should, while nothing is in work.
const GOODBYE: Duration = Duration::from_secs(1);

/// The application of a worker, as HTTP/1 has it.
pub(super) type Application = Rc<BoxService<Request, HttpResponse, actix_web::Error>>;

/// Serves connections. Clones share the limit of requests.
#[derive(Clone)]
pub(super) struct Http2 {
    /// Requests over all connections, until the last byte of their answers has left.
    requests: Permits,
    keep_alive: Duration,
    head_timeout: Duration,
    /// How long a client may take none of any answer that waits for it.
    longest_stall: Duration,
}

impl Http2 {
    pub(super) fn new(http: &HttpSettings) -> Self {
        let requests = Permits::new(http.max_requests);
        let (keep_alive, head_timeout) = (http.keep_alive, http.head_timeout);
        Self { requests, keep_alive, head_timeout, longest_stall: http.body_timeout }
    }

    /// Serves one connection until its client ends it, it is idle, or `shutdown` is there and its requests are answered.
    pub(super) async fn serve(
        self,
        stream: NetStream,
        peer: Option<SocketAddr>,
        application: Application,
        shutdown: impl Future<Output = ()>,
    ) {
        let in_work = InWork::default();
        let (requests, counted) = (self.requests.clone(), in_work.clone());
        let service = service_fn(move |request| {
            let (application, permit, counted) = (Rc::clone(&application), requests.try_take(1), counted.begin());
            async move { Ok::<_, Infallible>(answer(&application, request, peer, permit, counted).await) }
        });
        let mut builder = http2::Builder::new(LocalExecutor);
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_header_list_size(MAX_HEAD)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(MAX_SEND_BUFFER)
            .max_pending_accept_reset_streams(MAX_RESETS)
            .max_local_error_reset_streams(MAX_ERROR_RESETS)
            .keep_alive_interval(PING.0)
            .keep_alive_timeout(PING.1);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut shutdown = pin!(shutdown);
        let mut ending = false;
        loop {
            let idle = if ending { (GOODBYE, GOODBYE) } else { (self.head_timeout, self.keep_alive) };
            tokio::select! {
                // whatever ends a connection, its requests end with it
                _ = connection.as_mut() => return,
                () = shutdown.as_mut(), if !ending => {}
                () = in_work.idle_for(idle) => if ending { return },
                () = in_work.stalled_for((self.longest_stall, self.longest_stall)) => return,
            }
            // a request that begins meanwhile is answered
            ending = true;
            connection.as_mut().graceful_shutdown();
        }
    }
}

/// Runs what belongs to a connection on the thread of its worker.
#[derive(Clone, Copy)]
struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        drop(actix_web::rt::spawn(async move {
            future.await;
        }));
    }
}

/// The answer of the application to one request.
async fn answer(
    application: &Application,
    request: http::Request<Incoming>,
    peer: Option<SocketAddr>,
    permit: Option<Permit>,
    counted: Counted,
) -> http::Response<AnswerBody> {
    let head_only = request.method() == http::Method::HEAD;
    let (head, body) = request.into_parts();
    let body = RequestBody::new(body);
    let response = match (permit.is_some(), to_application(head, &body, peer)) {
        (true, Ok(request)) => application.call(request).await.unwrap_or_else(|error| error.error_response()),
        (true, Err(why)) => rejected(HttpRejection::new(ErrorCode::InvalidRequest, why)),
        (false, _) => {
            let text = "too many concurrent requests (http.max_requests)";
            rejected(HttpRejection::new(ErrorCode::Overloaded, text))
        }
    };
    if !body.is_read() {
        drop(actix_web::rt::spawn(body.drain()));
    }
    let (head, body) = response.into_parts();
    let mut response = http::Response::new(());
    *response.status_mut() = http::StatusCode::from_u16(head.status().as_u16()).unwrap_or_default();
    for (name, value) in head.headers() {
        let name = http::HeaderName::from_bytes(name.as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, http::HeaderValue::from_bytes(value.as_bytes())) {
            response.headers_mut().append(name, value);
        }
    }
    if head_only && let BodySize::Sized(length) = body.size() {
        response.headers_mut().insert(http::header::CONTENT_LENGTH, length.into());
    }
    response.map(|()| AnswerBody::new(body, head_only, permit, counted))
}

/// A request as HTTP/1 would have brought it.
fn to_application(
    head: http::request::Parts,
    body: &RequestBody,
    peer: Option<SocketAddr>,
) -> Result<Request, &'static str> {
    let payload = match body.is_read() {
        true => Payload::None,
        false => Payload::Stream { payload: Box::pin(body.clone()) as BoxedPayloadStream },
    };
    let mut request = Request::with_payload(payload);
    let made = request.head_mut();
    made.version = Version::HTTP_2;
    made.peer_addr = peer;
    made.method = Method::from_bytes(head.method.as_str().as_bytes()).map_err(|_| "the method is none")?;
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    made.uri = path.parse::<Uri>().map_err(|_| "the path is none")?;
    for (name, value) in &head.headers {
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).map_err(|_| "the name of a header is none")?;
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| "the value of a header is none")?;
        made.headers.append(name, value);
    }
    if let Some(authority) = head.uri.authority().filter(|_| !head.headers.contains_key(http::header::HOST)) {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| "the authority is none")?;
        made.headers.insert(HOST, host);
    }
    Ok(request)
}

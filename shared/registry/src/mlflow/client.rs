//! Calls to an MLflow server: authenticated, bounded in size and time, retried where that is safe.

use std::fmt;
use std::io::Read;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::http::{Method, Request, Response};
use ureq::{Agent, AsSendBody, SendBody};

use super::address::Address;
use super::failure::{failed, refused, shortened};
use super::redirect;
use super::reported::Reported;
use super::{tls, unity_catalog};
use crate::location::workspace;
use crate::{OnProgress, RegistryCredentials, RegistryError, RegistryOptions};

/// Largest response in bytes, except for files.
const MAX_RESPONSE: u64 = 16 << 20;
/// Largest number of bytes that are read of an error page.
const MAX_ERROR: u64 = 64 << 10;
/// Largest number of retries of one call.
const RETRIES: usize = 3;
/// Largest number of redirects of one call.
const REDIRECTS: usize = 3;
/// Pause before the first retry, doubled before each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// A client for the REST interface of one MLflow server. Blocking; cheap to clone; connections are reused.
#[derive(Clone)]
pub struct MlflowClient {
    agent: Agent,
    base: String,
    /// Whether models are in Unity Catalog of a Databricks workspace.
    catalog: bool,
    authorization: Option<String>,
    timeout: Duration,
    on_progress: OnProgress,
}

/// The body of a call.
#[derive(Debug, Clone, Copy)]
pub enum Body<'b> {
    None,
    Json(&'b Value),
    Bytes(&'b [u8]),
}

/// HTTP method of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

/// One call and its limits.
#[derive(Debug, Clone, Copy)]
struct Call<'c> {
    verb: Verb,
    /// Path from the server's root, with the encoded query.
    path: &'c str,
    body: Body<'c>,
    /// Largest response, in bytes.
    limit: u64,
    /// Longest duration, including retries.
    time: Duration,
}

impl<'c> Call<'c> {
    /// A GET, whose limits the caller has to set.
    fn get(path: &'c str) -> Self {
        Self { verb: Verb::Get, path, body: Body::None, limit: 0, time: Duration::ZERO }
    }
}

impl fmt::Debug for MlflowClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MlflowClient").field("base", &self.base).finish_non_exhaustive()
    }
}

impl MlflowClient {
    /// A client for `options.location`. Nothing is sent yet.
    ///
    /// # Errors
    /// [`RegistryError::Location`] for an address or a certificate that cannot be used.
    pub fn new(options: &RegistryOptions) -> Result<Self, RegistryError> {
        let workspace = workspace(&options.location);
        let catalog = workspace.is_some();
        let address = workspace.unwrap_or(Ok(&options.location)).and_then(Address::parse);
        let shown = address.as_ref().map_or_else(|_| hidden(&options.location), |address| address.base.clone());
        let refused = |reason: String| RegistryError::Location { location: shown.clone(), reason };
        let address = address.map_err(refused)?;
        let credentials = match &options.credentials {
            RegistryCredentials::None => &address.credentials,
            given => given,
        };
        let authorization = match credentials {
            RegistryCredentials::None => None,
            RegistryCredentials::Basic { username, password } => {
                Some(format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}"))))
            }
            RegistryCredentials::Bearer(token) => Some(format!("Bearer {token}")),
        };
        if authorization.as_ref().is_some_and(|value| ureq::http::HeaderValue::from_str(value).is_err()) {
            return Err(refused("the token has characters that no header can carry".to_owned()));
        }
        let tls = tls::config(&options.tls).map_err(|fault| refused(fault.to_string()))?;
        let mut config = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            // followed by `exchange`, and only on the server's own host
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("forebay/", env!("CARGO_PKG_VERSION")))
            .max_idle_age(Duration::from_secs(30));
        if address.is_loopback() {
            config = config.proxy(None);
        } else if address.base.starts_with("http://") {
            let registry = &address.base;
            tracing::warn!(registry, "models and credentials of the registry cross the network unencrypted");
        }
        let agent = config.build().new_agent();
        let (timeout, on_progress) = (options.timeout, options.on_progress.clone());
        Ok(Self { agent, base: address.base, catalog, authorization, timeout, on_progress })
    }

    /// Whether models are in Unity Catalog, whose calls have paths of their own.
    pub(super) fn is_catalog(&self) -> bool {
        self.catalog
    }

    /// The server's address without name and password.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Sends a call and parses the JSON of the response; an empty response is `null`. `path` starts at the server's
    /// root and includes the encoded query. All methods but POST are retried when the server does not respond or is
    /// overloaded.
    ///
    /// # Errors
    /// [`RegistryError::Unreachable`], [`RegistryError::Refused`] or [`RegistryError::Answer`], naming the URL.
    pub fn send(&self, verb: Verb, path: &str, body: Body<'_>) -> Result<Value, RegistryError> {
        let bytes = self.run(&Call { verb, path, body, limit: MAX_RESPONSE, time: self.timeout })?;
        if bytes.iter().all(u8::is_ascii_whitespace) { Ok(Value::Null) } else { self.parse(path, &bytes) }
    }

    /// Sends a GET and deserializes the response.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, RegistryError> {
        let bytes = self.run(&Call { limit: MAX_RESPONSE, time: self.timeout, ..Call::get(path) })?;
        self.parse(path, &bytes)
    }

    /// Fetches a file of at most `limit` bytes. `size`, if a listing has it, extends the timeout.
    pub(super) fn download(&self, path: &str, limit: u64, size: Option<u64>) -> Result<Vec<u8>, RegistryError> {
        let mebibytes = size.unwrap_or(limit).min(limit) >> 20;
        let time = self.timeout.saturating_add(Duration::from_secs(mebibytes));
        self.run(&Call { limit, time, ..Call::get(path) })
    }

    fn parse<T: DeserializeOwned>(&self, path: &str, bytes: &[u8]) -> Result<T, RegistryError> {
        serde_json::from_slice(bytes).map_err(|error| {
            let start = shortened(&String::from_utf8_lossy(&bytes[..bytes.len().min(60)]));
            let reason = format!("is not an answer of MLflow: {error}; it starts with {start:?}");
            RegistryError::Answer { url: self.url(path), reason }
        })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Makes a call, and retries it with exponential back-off where that is safe.
    fn run(&self, call: &Call<'_>) -> Result<Vec<u8>, RegistryError> {
        let started = Instant::now();
        let growth = ExponentialBuilder::new().with_min_delay(FIRST_PAUSE).with_factor(2.0).with_max_times(RETRIES);
        let mut pauses = growth.build();
        loop {
            let left = call.time.saturating_sub(started.elapsed()).max(Duration::from_millis(1));
            let error = match self.once(&Call { time: left, ..*call }) {
                Err(error) if error.is_unreachable() && call.verb != Verb::Post => error,
                done => return done,
            };
            // jitter, so that replicas do not retry in step
            let pause = pauses.next().map(|pause| pause.mul_f64(rand::random_range(0.5..1.5)));
            let Some(pause) = pause.filter(|pause| started.elapsed() + *pause < call.time) else { return Err(error) };
            tracing::debug!(%error, ?pause, "call to the model registry failed, trying again");
            std::thread::sleep(pause);
        }
    }

    fn once(&self, call: &Call<'_>) -> Result<Vec<u8>, RegistryError> {
        match call.body {
            Body::None => self.exchange(call, None, SendBody::none()),
            Body::Json(json) => self.exchange(call, Some("application/json"), json.to_string().as_bytes()),
            Body::Bytes(bytes) => self.exchange(call, Some("application/octet-stream"), bytes),
        }
    }

    fn exchange(
        &self,
        call: &Call<'_>,
        content_type: Option<&str>,
        body: impl AsSendBody,
    ) -> Result<Vec<u8>, RegistryError> {
        let mut url = self.url(call.path);
        let mut response = self.request(call, &url, content_type, body)?;
        for _ in 0..REDIRECTS {
            if call.verb != Verb::Get || !response.status().is_redirection() {
                break;
            }
            let to = response.headers().get("location").and_then(|to| to.to_str().ok()).unwrap_or_default();
            url = redirect::target(&url, to)
                .map_err(|reason| RegistryError::Answer { url: url.clone(), reason: reason.to_owned() })?;
            response = self.request(call, &url, None, SendBody::none())?;
        }
        self.body(response, &url, call.limit)
    }

    fn request(
        &self,
        call: &Call<'_>,
        url: &str,
        content_type: Option<&str>,
        body: impl AsSendBody,
    ) -> Result<Response<ureq::Body>, RegistryError> {
        let mut request = Request::builder().method(call.verb.method()).uri(url).header("accept", "*/*");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let request = request.body(body);
        let request =
            request.map_err(|error| RegistryError::Answer { url: url.to_owned(), reason: error.to_string() })?;
        let request = self
            .agent
            .configure_request(request)
            .timeout_global(Some(call.time))
            .timeout_connect(Some(call.time.min(self.timeout)))
            .timeout_per_read(Some(call.time.min(self.timeout)))
            .build();
        self.on_progress.notify();
        self.agent.run(request).map_err(|error| failed(url, &error))
    }

    /// The content of a response, of at most `limit` bytes.
    fn body(&self, mut response: Response<ureq::Body>, url: &str, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let status = response.status().as_u16();
        if status >= 300 {
            // the error is reported by its status alone when its body cannot be read
            let mut text = Vec::new();
            let _ = response.body_mut().as_reader().take(MAX_ERROR).read_to_end(&mut text);
            let error = refused(url, status, &text);
            return Err(if self.catalog { unity_catalog::explained(error) } else { error });
        }
        let response = response.body_mut().with_config().limit(limit).reader();
        let mut bytes = Vec::new();
        let read = Reported { response, on_progress: &self.on_progress }.read_to_end(&mut bytes);
        read.map(|_| bytes).map_err(|error| match ureq::Error::from(error) {
            ureq::Error::BodyExceedsLimit(_) => {
                RegistryError::Answer { url: url.to_owned(), reason: format!("is larger than {limit} bytes") }
            }
            error => failed(url, &error),
        })
    }
}

impl Verb {
    fn method(self) -> Method {
        match self {
            Self::Get => Method::GET,
            Self::Post => Method::POST,
            Self::Put => Method::PUT,
            Self::Patch => Method::PATCH,
            Self::Delete => Method::DELETE,
        }
    }
}

/// A location that cannot be parsed, without the part that may be a password.
fn hidden(location: &str) -> String {
    match location.rsplit_once('@') {
        Some((_, host)) => format!("***@{host}"),
        None => location.to_owned(),
    }
}

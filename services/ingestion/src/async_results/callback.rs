//! Calls back: posts an answer to the address that its caller named.
//!
//! The message has the form of [Standard Webhooks](https://www.standardwebhooks.com): its id, the time of the attempt and
//! an HMAC-SHA256 over both and the body. It is sent until the receiver takes it; a receiver may get it more than once,
//! with the same id.

mod address;
mod target;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use forebay_bus::Ack;
use forebay_bus::kafka::{DeadLetter, DeadLetters, RawRecord};
use forebay_contract::{ErrorCode, Problem, now_us};
use ring::hmac;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use ureq::Agent;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::DefaultConnector;

use super::{AnswerStore, CallMetrics, ResultId, StoredAnswer, StoredResult};
use crate::settings::{AsyncSettings, CallbackAddresses};
use address::PublicAddresses;
pub(crate) use target::AllowedTarget;

/// Longest time of one attempt.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two attempts: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Most calls to a target at a time, each on a thread that may block: one that hangs does not hold up the others.
const MAX_CALLS: usize = 16;
/// What a secret may begin with, as Standard Webhooks writes it.
const SECRET_PREFIX: &str = "whsec_";
/// What a dead letter names as its topic. No topic can have this name, so a letter cannot be sent to one again.
const LETTER_TOPIC: &str = "(callback)";

/// Where answers may be posted, and how. Clones share it.
#[derive(Clone)]
pub(crate) struct Callbacks(Arc<Shared>);

struct Shared {
    targets: Vec<Target>,
    key: hmac::Key,
    agent: Agent,
    longest: Duration,
    letters: DeadLetters,
}

/// Where answers may be posted.
struct Target {
    allowed: AllowedTarget,
    calls: Semaphore,
    /// Whether its last call failed.
    failing: AtomicBool,
}

/// The body of a call.
#[derive(Serialize)]
struct Event<'a> {
    r#type: &'static str,
    timestamp: String,
    data: EventData<'a>,
}

#[derive(Serialize)]
struct EventData<'a> {
    result_id: String,
    location: String,
    /// HTTP status of the answer.
    status: u16,
    answer: &'a RawValue,
}

/// Why an attempt failed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum CallError {
    /// Another attempt may succeed.
    #[error("{0}")]
    Later(String),
    /// The receiver does not want it, or may not be called.
    #[error("{0}")]
    Refused(String),
}

/// The bytes of a secret, which is base64 with or without `whsec_`.
pub(crate) fn secret_bytes(text: &str) -> Option<Vec<u8>> {
    let bytes = STANDARD.decode(text.trim().strip_prefix(SECRET_PREFIX).unwrap_or(text.trim())).ok()?;
    (24..=64).contains(&bytes.len()).then_some(bytes)
}

impl Callbacks {
    /// Calls the targets that `settings` allow; `None` if they allow none. The settings have been checked.
    pub(crate) fn new(settings: &AsyncSettings, letters: DeadLetters) -> Option<Self> {
        let allowed = settings.callbacks.iter().filter_map(|text| AllowedTarget::parse(text).ok());
        let target = |allowed| Target { allowed, calls: Semaphore::new(MAX_CALLS), failing: AtomicBool::new(false) };
        let targets: Vec<_> = allowed.map(target).collect();
        let secret = secret_bytes(settings.callback_secret.expose()).filter(|_| !targets.is_empty())?;
        let config = Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .max_redirects(0)
            .http_status_as_error(false)
            // through a proxy the address that is called would not be the one that was checked
            .proxy(None)
            .user_agent(concat!("forebay/", env!("CARGO_PKG_VERSION")))
            .build();
        let agent = match settings.callback_addresses {
            CallbackAddresses::Any => config.new_agent(),
            CallbackAddresses::Public => {
                let resolver = PublicAddresses::over(DefaultResolver::default());
                Agent::with_parts(config, DefaultConnector::default(), resolver)
            }
        };
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        Some(Self(Arc::new(Shared { targets, key, agent, longest: settings.callback_retry, letters })))
    }

    /// Checks that an answer may be posted to `url`.
    ///
    /// # Errors
    /// `invalid_request` if not.
    pub(crate) fn check(&self, url: &str) -> Result<(), Problem> {
        let text = "X-Forebay-Callback: the address is not one that async.callbacks allows";
        self.target(url).map(drop).ok_or_else(|| Problem::new(ErrorCode::InvalidRequest, text))
    }

    fn target(&self, url: &str) -> Option<&Target> {
        self.0.targets.iter().find(|target| target.allowed.covers(url))
    }

    /// Posts the answer of the request `id`, which `store` has, to `url`, until it is taken or given up; then it is a dead
    /// letter.
    pub(super) async fn call(&self, store: &AnswerStore, metrics: &CallMetrics, id: ResultId, url: &str) {
        let (deadline, mut why) = (Instant::now() + self.0.longest, "there was no time for an attempt".to_owned());
        let mut pauses = ExponentialBuilder::new()
            .with_min_delay(PAUSES.0)
            .with_max_delay(PAUSES.1)
            .with_jitter()
            .without_max_times()
            .build();
        while Instant::now() < deadline {
            match self.attempt(store, id, url, deadline).await {
                Ok(()) => {
                    metrics.delivered.inc();
                    return;
                }
                Err(CallError::Refused(reason)) => {
                    why = reason;
                    break;
                }
                Err(CallError::Later(reason)) => why = reason,
            }
            metrics.failed.inc();
            tokio::time::sleep(pauses.next().unwrap_or(PAUSES.1)).await;
        }
        metrics.given_up.inc();
        let body = self.body(store, id).await.unwrap_or_default();
        self.give_up(id, url, body, &why);
    }

    async fn attempt(&self, store: &AnswerStore, id: ResultId, url: &str, deadline: Instant) -> Result<(), CallError> {
        let target =
            self.target(url).ok_or_else(|| CallError::Refused("async.callbacks allows it no more".to_owned()))?;
        let Ok(permit) = tokio::time::timeout_at(deadline.into(), target.calls.acquire()).await else {
            return Err(CallError::Later("its receiver has too many calls in work".to_owned()));
        };
        // made for each attempt: what waits holds no answer
        let body = self.body(store, id).await?;
        let (callbacks, to) = (self.clone(), url.to_owned());
        let posted = tokio::task::spawn_blocking(move || callbacks.post(id, &to, &body)).await;
        drop(permit);
        let posted = posted.unwrap_or_else(|error| Err(CallError::Later(format!("the call failed: {error}"))));
        let failing = target.failing.swap(posted.is_err(), Ordering::Relaxed);
        match &posted {
            Err(error) if !failing => tracing::warn!(url = without_query(url), %error, "callbacks fail"),
            Ok(()) if failing => tracing::info!(url = without_query(url), "callbacks succeed again"),
            _ => {}
        }
        posted
    }

    /// The message about the answer of the request `id`.
    async fn body(&self, store: &AnswerStore, id: ResultId) -> Result<Vec<u8>, CallError> {
        match store.find(id).await {
            Ok(Some((_, StoredResult::Answered(answer)))) => {
                body(id, &answer).map_err(|error| CallError::Refused(error.to_string()))
            }
            Ok(_) => Err(CallError::Refused("its answer is no longer kept".to_owned())),
            Err(error) => Err(CallError::Later(error.to_string())),
        }
    }

    fn post(&self, id: ResultId, url: &str, body: &[u8]) -> Result<(), CallError> {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let message_id = format!("msg_{id}");
        let answer = self
            .0
            .agent
            .post(url)
            .header("content-type", "application/json")
            .header("webhook-id", &message_id)
            .header("webhook-timestamp", seconds.to_string())
            .header("webhook-signature", self.signature(&message_id, seconds, body))
            .send(body);
        match answer.map(|answer| answer.status().as_u16()) {
            Ok(200..=299) => Ok(()),
            Ok(status @ (408 | 425 | 429 | 500..=599)) => Err(CallError::Later(format!("it answered {status}"))),
            Ok(status) => Err(CallError::Refused(format!("it answered {status}"))),
            Err(ureq::Error::Other(error)) if error.is::<address::PrivateAddress>() => {
                Err(CallError::Refused(error.to_string()))
            }
            Err(error) => Err(CallError::Later(error.to_string())),
        }
    }

    /// `v1,` and the base64 of the HMAC over id, time and body.
    fn signature(&self, message_id: &str, seconds: u64, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0.key);
        context.update(format!("{message_id}.{seconds}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    }

    fn give_up(&self, id: ResultId, url: &str, body: Vec<u8>, why: &str) {
        let message = format!("no callback to {}: {why}", without_query(url));
        let timestamp_ms = i64::try_from(now_us() / 1000).unwrap_or(i64::MAX);
        let header = |name: &str, value: String| (name.to_owned(), value.into());
        let headers = vec![
            header("forebay-callback", url.to_owned()),
            header("forebay-callback-webhook-id", format!("msg_{id}")),
        ];
        let record = RawRecord { payload: body.into(), key: None, partition: 0, offset: 0, timestamp_ms, headers };
        let code = ErrorCode::Unavailable.as_str();
        self.0.letters.send(DeadLetter { code, message, topic: LETTER_TOPIC.into(), record }, Ack::none());
    }
}

/// What a query says may be a secret between the caller and the receiver.
fn without_query(url: &str) -> &str {
    url.split_once('?').map_or(url, |(before, _)| before)
}

fn body(id: ResultId, answer: &StoredAnswer) -> serde_json::Result<Vec<u8>> {
    let timestamp = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    let data = EventData {
        result_id: id.to_string(),
        location: id.location(),
        status: answer.status,
        answer: serde_json::from_slice(&answer.json)?,
    };
    serde_json::to_vec(&Event { r#type: "prediction.answered", timestamp, data })
}

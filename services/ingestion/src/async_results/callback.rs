//! Calls back: posts an answer to the address that its caller named.
//!
//! The message has the form of [Standard Webhooks](https://www.standardwebhooks.com): its id, the time of the attempt and
//! an HMAC-SHA256 over both and the body. It is sent until the receiver takes it; a receiver may get it more than once,
//! with the same id.

mod address;
mod target;

use std::sync::Arc;
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

use super::{ResultId, StoredAnswer};
use crate::settings::{AsyncSettings, CallbackAddresses};
use address::PublicAddresses;
pub(crate) use target::AllowedTarget;

/// Longest time of one attempt.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two attempts: the first, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Most calls at a time. Each takes a thread that may block.
const MAX_CALLS: usize = 32;
/// What a secret may begin with, as Standard Webhooks writes it.
const SECRET_PREFIX: &str = "whsec_";
/// The topic that a dead letter names.
const LETTER_TOPIC: &str = "callback";

/// Where answers may be posted, and how. Clones share it.
#[derive(Clone)]
pub(crate) struct Callbacks(Arc<Shared>);

struct Shared {
    allowed: Vec<AllowedTarget>,
    key: hmac::Key,
    agent: Agent,
    longest: Duration,
    calls: Semaphore,
    letters: DeadLetters,
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
#[derive(Debug, PartialEq, Eq)]
enum CallError {
    /// Another attempt may succeed.
    Later(String),
    /// The receiver does not want it, or may not be called.
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
        let allowed: Vec<_> = settings.callbacks.iter().filter_map(|text| AllowedTarget::parse(text).ok()).collect();
        let secret = secret_bytes(settings.callback_secret.expose()).filter(|_| !allowed.is_empty())?;
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
        let (longest, calls) = (settings.callback_retry, Semaphore::new(MAX_CALLS));
        Some(Self(Arc::new(Shared { allowed, key, agent, longest, calls, letters })))
    }

    /// Checks that an answer may be posted to `url`.
    ///
    /// # Errors
    /// `invalid_request` if not.
    pub(crate) fn check(&self, url: &str) -> Result<(), Problem> {
        if self.0.allowed.iter().any(|target| target.covers(url)) {
            return Ok(());
        }
        let text = "X-Forebay-Callback: the address is not one that async.callbacks allows";
        Err(Problem::new(ErrorCode::InvalidRequest, text))
    }

    /// Posts the answer of the request `id` to `url`, until it is taken or given up; then it is a dead letter.
    pub(crate) async fn call(&self, id: ResultId, url: &str, answer: &StoredAnswer) {
        let body: Arc<[u8]> = match body(id, answer) {
            Ok(body) => body.into(),
            Err(error) => return self.give_up(url, Vec::new(), &error.to_string()),
        };
        let began = Instant::now();
        let mut pauses = ExponentialBuilder::new()
            .with_min_delay(PAUSES.0)
            .with_max_delay(PAUSES.1)
            .with_jitter()
            .without_max_times()
            .build();
        loop {
            let why = match self.attempt(id, url, Arc::clone(&body)).await {
                Ok(()) => return,
                Err(CallError::Refused(why)) => return self.give_up(url, body.to_vec(), &why),
                Err(CallError::Later(why)) => why,
            };
            let pause = pauses.next().unwrap_or(PAUSES.1);
            if began.elapsed() + pause > self.0.longest {
                return self.give_up(url, body.to_vec(), &why);
            }
            tracing::debug!(result = ?id, url = without_query(url), why, "a callback failed, trying again");
            tokio::time::sleep(pause).await;
        }
    }

    async fn attempt(&self, id: ResultId, url: &str, body: Arc<[u8]>) -> Result<(), CallError> {
        let Ok(_permit) = self.0.calls.acquire().await else {
            return Err(CallError::Later("the process stops".to_owned()));
        };
        let (callbacks, url) = (self.clone(), url.to_owned());
        let posted = tokio::task::spawn_blocking(move || callbacks.post(id, &url, &body)).await;
        posted.unwrap_or_else(|error| Err(CallError::Later(format!("the call failed: {error}"))))
    }

    fn post(&self, id: ResultId, url: &str, body: &[u8]) -> Result<(), CallError> {
        self.check(url).map_err(|problem| CallError::Refused(problem.message))?;
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

    fn give_up(&self, url: &str, body: Vec<u8>, why: &str) {
        let message = format!("no callback to {}: {why}", without_query(url));
        let timestamp_ms = i64::try_from(now_us() / 1000).unwrap_or(i64::MAX);
        let record =
            RawRecord { payload: body.into(), key: None, partition: 0, offset: 0, timestamp_ms, headers: Vec::new() };
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
    let location = format!("/v1/results/{id}");
    let data = EventData {
        result_id: id.to_string(),
        location,
        status: answer.status,
        answer: serde_json::from_slice(&answer.json)?,
    };
    serde_json::to_vec(&Event { r#type: "prediction.answered", timestamp, data })
}

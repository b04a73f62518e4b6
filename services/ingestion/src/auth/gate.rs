//! The check of one request.

use std::sync::Arc;
use std::time::Duration;

use forebay_contract::{ErrorCode, now_us};
use forebay_runtime::{Component, Lifecycle, Metrics, StartError, shown};

use super::allowance::Limits;
use super::api_key::ApiKey;
use super::caller::Caller;
use super::counts::Counts;
use super::key_ring::{Found, KeyRing};
use super::tokens::{Bad, Tokens};
use crate::refusal::Refusal;
use crate::settings::Auth;

/// Challenges of RFC 6750.
const ASK: &str = r#"Bearer realm="forebay""#;
const WRONG: &str = r#"Bearer realm="forebay", error="invalid_token""#;
const NARROW: &str = r#"Bearer realm="forebay", error="insufficient_scope""#;
/// The keys of an issuer that does not answer are asked for again so soon at first, and later as late as this.
const RETRIES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// What a request shows.
#[derive(Clone, Copy)]
pub enum Credentials<'r> {
    /// Nothing.
    None,
    /// `X-API-Key`.
    Key(&'r str),
    /// `Authorization: Bearer`: a token, or a key.
    Bearer(&'r str),
    /// Something that cannot be used, and why.
    Unusable(&'static str),
}

impl std::fmt::Debug for Credentials<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Key(_) => "Key(***)",
            Self::Bearer(_) => "Bearer(***)",
            Self::Unusable(_) => "Unusable",
        })
    }
}

/// Who was admitted; nobody in particular where no credentials are asked for.
pub type Admitted = Option<Arc<Caller>>;

/// Lets callers in. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    keys: Option<Arc<KeyRing>>,
    tokens: Option<Arc<Tokens>>,
    counts: Option<Counts>,
    /// Between two looks at the file of keys, and two reads of the issuer's.
    refresh: [Duration; 2],
}

impl Gate {
    /// As the settings say.
    ///
    /// # Errors
    /// When a file cannot be used: names the setting.
    pub fn open(settings: &Auth, metrics: &Metrics) -> Result<Self, StartError> {
        if !settings.is_on() {
            return Ok(Self::default());
        }
        let counts = Counts::register(metrics, settings.jwt.is_on());
        let limits = Limits { rate: settings.rate, burst: settings.burst, daily_rows: settings.daily_rows };
        let path = &settings.keys_file;
        let ring = || KeyRing::open(path.into(), limits, counts.clone(), now_us() / 1_000_000);
        let told = shown("auth.keys_file", path);
        let wrong = |error: String| StartError::setting("auth.keys_file", format!("{told}: {error}"));
        let keys = settings.has_keys().then(ring).transpose().map_err(wrong)?;
        let tokens = || Tokens::new(&settings.jwt, limits, counts.clone());
        let wrong = |error: String| StartError::setting("auth.jwt", error);
        let tokens = settings.jwt.is_on().then(tokens).transpose().map_err(wrong)?;
        let refresh = [settings.refresh, settings.jwt.refresh];
        Ok(Self { keys: keys.map(Arc::new), tokens: tokens.map(Arc::new), counts: Some(counts), refresh })
    }

    /// Whether credentials are asked for.
    pub fn is_on(&self) -> bool {
        self.counts.is_some()
    }

    /// Whether API keys are taken, and whether tokens are.
    pub fn kinds(&self) -> (bool, bool) {
        (self.keys.is_some(), self.tokens.is_some())
    }

    /// Who asks. Takes one request of the caller's rate.
    ///
    /// # Errors
    /// `unauthorized`, `forbidden`, `overloaded`, or `unavailable` while the issuer's keys are not known; with the
    /// caller, where that is known.
    pub async fn admit(&self, given: Credentials<'_>, now_s: u64) -> Result<Admitted, (Refusal, Admitted)> {
        let Some(counts) = &self.counts else { return Ok(None) };
        let caller = match self.recognise(given, now_s).await {
            Ok(caller) => caller,
            Err((reason, refusal, caller)) => {
                counts.refused(reason);
                return Err((refusal, caller));
            }
        };
        match caller.request() {
            Ok(()) => Ok(Some(caller)),
            Err(refusal) => Err((refusal, Some(caller))),
        }
    }

    async fn recognise(&self, given: Credentials<'_>, now_s: u64) -> Result<Arc<Caller>, Denial> {
        match (given, &self.keys, &self.tokens) {
            (Credentials::Key(key), Some(keys), _) => known(keys, key, now_s),
            (Credentials::Bearer(key), Some(keys), _) if ApiKey::is_meant(key) => known(keys, key, now_s),
            (Credentials::Bearer(key), Some(keys), None) => known(keys, key, now_s),
            (Credentials::Bearer(token), _, Some(tokens)) => tokens.check(token, now_s).await.map_err(denied),
            (Credentials::Unusable(why), ..) => Err(("malformed", unauthorized(why, WRONG), None)),
            (Credentials::Key(_), None, _) => {
                Err(("missing", unauthorized("API keys are not taken here, only tokens", ASK), None))
            }
            (Credentials::None, ..) | (Credentials::Bearer(_), None, None) => {
                Err(("missing", unauthorized(self.needed(), ASK), None))
            }
        }
    }

    fn needed(&self) -> &'static str {
        match (&self.keys, &self.tokens) {
            (Some(_), None) => "an API key is needed, in X-API-Key or as Authorization: Bearer",
            (None, _) => "a token is needed, as Authorization: Bearer",
            (Some(_), Some(_)) => "an API key (X-API-Key) or a token (Authorization: Bearer) is needed",
        }
    }

    /// Follows the file of keys and the issuer, from now until the process drains. Must be called on a tokio runtime.
    pub fn follow(&self, lifecycle: &Lifecycle) {
        let [look, read] = self.refresh;
        if let Some(keys) = &self.keys {
            let keys = Arc::clone(keys);
            let look_at = move || keys.refresh(now_us() / 1_000_000);
            crate::follow::every(look, lifecycle, "api keys", look_at);
        }
        if let Some(tokens) = &self.tokens {
            // known before the first read, so that the process is not ready without the keys
            let component = lifecycle.register("keys of the token issuer");
            tokio::spawn(follow_issuer(Arc::clone(tokens), lifecycle.clone(), component, read));
        }
    }
}

/// Reads the issuer's keys every `pause`, and sooner while that fails.
async fn follow_issuer(tokens: Arc<Tokens>, lifecycle: Lifecycle, component: Component, pause: Duration) {
    let [mut retry, slowest] = RETRIES;
    loop {
        let well = tokens.refresh(Duration::ZERO).await;
        match tokens.has_keys() {
            true => component.ready(),
            false => component.unready("the issuer's keys cannot be read"),
        }
        let wait = if well { pause } else { retry.min(pause) };
        retry = if well { RETRIES[0] } else { (retry * 2).min(slowest) };
        tokio::select! {
            () = lifecycle.draining() => break,
            () = tokio::time::sleep(wait) => {}
        }
    }
    component.finished();
}

/// Reason for metrics, answer, and the caller where that is known.
type Denial = (&'static str, Refusal, Admitted);

fn known(keys: &KeyRing, key: &str, now_s: u64) -> Result<Arc<Caller>, Denial> {
    match keys.find(key, now_s) {
        Found::Known(caller) => Ok(caller),
        Found::Expired(caller) => {
            Err(("expired", unauthorized(format!("the API key {} has expired", caller.name()), WRONG), Some(caller)))
        }
        Found::Unknown => Err(("unknown", unauthorized("the API key is not known", WRONG), None)),
    }
}

fn denied(bad: Bad) -> Denial {
    match bad {
        Bad::Token(why) => ("token", unauthorized(format!("the token is not taken: {why}"), WRONG), None),
        Bad::Scope(subject) => {
            let message = format!("the token of {subject:?} lacks the scope that is needed here");
            ("scope", Refusal::new(ErrorCode::Forbidden, message).challenge(NARROW), None)
        }
        Bad::NoKeys => {
            let message = "the token cannot be checked now: the issuer's keys are not known yet";
            ("issuer", Refusal::new(ErrorCode::Unavailable, message), None)
        }
    }
}

fn unauthorized(why: impl Into<String>, challenge: &'static str) -> Refusal {
    Refusal::new(ErrorCode::Unauthorized, why).challenge(challenge)
}

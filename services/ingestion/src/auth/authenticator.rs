//! The check of one request.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use forebay_contract::{ErrorCode, now_us};
use forebay_runtime::{Component, Lifecycle, Metrics, StartError, shown};

use super::api_key::ApiKey;
use super::caller::Caller;
use super::key_ring::{KeyLookup, KeyRing};
use super::metrics::AuthMetrics;
use super::rate_limit::CallerLimits;
use super::tokens::{TokenError, TokenVerifier};
use crate::rejection::HttpRejection;
use crate::settings::AuthSettings;

/// Challenges of RFC 6750.
const CREDENTIALS_NEEDED: &str = r#"Bearer realm="forebay""#;
const INVALID: &str = r#"Bearer realm="forebay", error="invalid_token""#;
const INSUFFICIENT_SCOPE: &str = r#"Bearer realm="forebay", error="insufficient_scope""#;
/// First and longest pause before the keys of an unreachable issuer are read again.
const MIN_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(30);

/// The credentials of one request.
#[derive(Clone, Copy)]
pub enum RequestCredentials<'r> {
    /// The request has none.
    None,
    /// The value of `X-API-Key`.
    Key(&'r str),
    /// The value of `Authorization: Bearer`: a token, or a key.
    Bearer(&'r str),
    /// The headers are invalid for this reason.
    Malformed(&'static str),
}

impl std::fmt::Debug for RequestCredentials<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Key(_) => "Key(***)",
            Self::Bearer(_) => "Bearer(***)",
            Self::Malformed(_) => "Malformed",
        })
    }
}

/// The caller; `None` if no credentials are needed or the caller is unknown.
pub type AuthenticatedCaller = Option<Arc<Caller>>;

/// Authenticates callers and applies their rate limits. Clones share keys, tokens and limits.
#[derive(Clone, Debug, Default)]
pub struct Authenticator {
    keys: Option<Arc<KeyRing>>,
    tokens: Option<Arc<TokenVerifier>>,
    /// `None` if no credentials are needed.
    metrics: Option<AuthMetrics>,
    /// Interval between two checks of the key file.
    keys_refresh: Duration,
    /// Interval between two reads of the issuer's keys.
    tokens_refresh: Duration,
}

impl Authenticator {
    /// An authenticator according to the settings.
    ///
    /// # Errors
    /// If a file cannot be used; the error names the setting.
    pub fn open(settings: &AuthSettings, metrics: &Metrics) -> Result<Self, StartError> {
        if !settings.is_on() {
            return Ok(Self::default());
        }
        let metrics = AuthMetrics::register(metrics, settings.jwt.is_on());
        let limits = CallerLimits { rate: settings.rate, burst: settings.burst, daily_rows: settings.daily_rows };
        let path = &settings.keys_file;
        let open_keys = || KeyRing::open(path.into(), limits, metrics.clone(), now_us() / 1_000_000);
        let file = shown("auth.keys_file", path);
        let invalid = |error: String| StartError::setting("auth.keys_file", format!("{file}: {error}"));
        let keys = settings.has_keys().then(open_keys).transpose().map_err(invalid)?;
        let verifier = || TokenVerifier::new(&settings.jwt, limits, metrics.clone());
        let invalid = |error: String| StartError::setting("auth.jwt", error);
        let tokens = settings.jwt.is_on().then(verifier).transpose().map_err(invalid)?;
        Ok(Self {
            keys: keys.map(Arc::new),
            tokens: tokens.map(Arc::new),
            metrics: Some(metrics),
            keys_refresh: settings.refresh,
            tokens_refresh: settings.jwt.refresh,
        })
    }

    /// Whether callers need credentials.
    pub fn is_on(&self) -> bool {
        self.metrics.is_some()
    }

    /// Whether API keys are accepted, and whether tokens are.
    pub fn accepts(&self) -> (bool, bool) {
        (self.keys.is_some(), self.tokens.is_some())
    }

    /// Identifies the caller and counts the request against its rate.
    ///
    /// # Errors
    /// `unauthorized`, `forbidden`, `overloaded`, or `unavailable` while the issuer's keys are not known; with the
    /// caller, if it is known.
    pub async fn authenticate(
        &self,
        credentials: RequestCredentials<'_>,
        now_s: u64,
    ) -> Result<AuthenticatedCaller, (HttpRejection, AuthenticatedCaller)> {
        self.admit(credentials, now_s, Caller::count_request).await
    }

    /// As [`Authenticator::authenticate`] for a request that fetches an answer: it counts against a rate that is as high, and
    /// not against that of requests for predictions.
    ///
    /// # Errors
    /// As [`Authenticator::authenticate`].
    pub async fn authenticate_fetch(
        &self,
        credentials: RequestCredentials<'_>,
        now_s: u64,
    ) -> Result<AuthenticatedCaller, (HttpRejection, AuthenticatedCaller)> {
        self.admit(credentials, now_s, Caller::count_fetch).await
    }

    async fn admit(
        &self,
        credentials: RequestCredentials<'_>,
        now_s: u64,
        count: fn(&Caller) -> Result<(), HttpRejection>,
    ) -> Result<AuthenticatedCaller, (HttpRejection, AuthenticatedCaller)> {
        let Some(metrics) = &self.metrics else { return Ok(None) };
        let caller = match self.identify(credentials, now_s).await {
            Ok(caller) => caller,
            Err((reason, rejection, caller)) => {
                metrics.rejected(reason);
                return Err((rejection, caller));
            }
        };
        match count(&caller) {
            Ok(()) => Ok(Some(caller)),
            Err(rejection) => Err((rejection, Some(caller))),
        }
    }

    async fn identify(&self, credentials: RequestCredentials<'_>, now_s: u64) -> Result<Arc<Caller>, Denial> {
        use RequestCredentials::{Bearer, Key, Malformed, None as Missing};
        match (credentials, &self.keys, &self.tokens) {
            (Key(key), Some(keys), _) => find_key(keys, key, now_s),
            (Bearer(key), Some(keys), _) if ApiKey::has_prefix(key) => find_key(keys, key, now_s),
            (Bearer(key), Some(keys), None) => find_key(keys, key, now_s),
            (Bearer(token), _, Some(tokens)) => tokens.verify(token, now_s).await.map_err(token_denial),
            (Malformed(why), ..) => Err(("malformed", unauthorized(why, INVALID), None)),
            (Key(_), None, _) => {
                let message = "API keys are not accepted here, only tokens";
                Err(("missing", unauthorized(message, CREDENTIALS_NEEDED), None))
            }
            (Missing, ..) | (Bearer(_), None, None) => {
                Err(("missing", unauthorized(self.needed(), CREDENTIALS_NEEDED), None))
            }
        }
    }

    fn needed(&self) -> &'static str {
        match (&self.keys, &self.tokens) {
            (Some(_), None) => "an API key is required, in X-API-Key or as Authorization: Bearer",
            (None, _) => "a token is required, as Authorization: Bearer",
            (Some(_), Some(_)) => "an API key (X-API-Key) or a token (Authorization: Bearer) is required",
        }
    }

    /// Reloads the key file and the issuer's keys until the process drains. Must be called on a tokio runtime.
    pub fn start_refresh(&self, lifecycle: &Lifecycle) {
        if let Some(keys) = &self.keys {
            let keys = Arc::clone(keys);
            let refresh = move || keys.refresh(now_us() / 1_000_000);
            crate::periodic::every(self.keys_refresh, lifecycle, "api keys", refresh);
        }
        if let Some(tokens) = &self.tokens {
            // registered before the first read, so that the process is not ready without the keys
            let component = lifecycle.register("keys of the token issuer");
            tokio::spawn(refresh_issuer_keys(Arc::clone(tokens), lifecycle.clone(), component, self.tokens_refresh));
        }
    }
}

/// Reads the issuer's keys every `interval`, and sooner while that fails.
async fn refresh_issuer_keys(
    tokens: Arc<TokenVerifier>,
    lifecycle: Lifecycle,
    component: Component,
    interval: Duration,
) {
    let retries = ExponentialBuilder::default()
        .with_min_delay(MIN_RETRY.min(interval))
        .with_max_delay(MAX_RETRY.min(interval))
        .without_max_times();
    let mut retry = retries.build();
    loop {
        let succeeded = tokens.refresh(Duration::ZERO).await;
        match (tokens.has_usable_keys(), tokens.has_keys()) {
            (true, _) => component.ready(),
            (false, true) => component.unready("the issuer has no key for signatures"),
            (false, false) => component.unready("the issuer's keys cannot be read"),
        }
        let pause = if succeeded {
            retry = retries.build();
            interval
        } else {
            retry.next().unwrap_or(interval)
        };
        tokio::select! {
            () = lifecycle.draining() => break,
            () = tokio::time::sleep(pause) => {}
        }
    }
    component.finished();
}

/// Reason for the metrics, the answer, and the caller if it is known.
type Denial = (&'static str, HttpRejection, AuthenticatedCaller);

fn find_key(keys: &KeyRing, key: &str, now_s: u64) -> Result<Arc<Caller>, Denial> {
    match keys.find(key, now_s) {
        KeyLookup::Valid(caller) => Ok(caller),
        KeyLookup::Expired(caller) => {
            Err(("expired", unauthorized(format!("the API key {} has expired", caller.name()), INVALID), Some(caller)))
        }
        KeyLookup::Unknown => Err(("unknown", unauthorized("the API key is unknown", INVALID), None)),
    }
}

fn token_denial(error: TokenError) -> Denial {
    match error {
        TokenError::Invalid(why) => ("token", unauthorized(format!("the token was rejected: {why}"), INVALID), None),
        TokenError::Scope(subject) => {
            let message = format!("the token of {subject:?} lacks the required scope");
            ("scope", HttpRejection::new(ErrorCode::Forbidden, message).challenge(INSUFFICIENT_SCOPE), None)
        }
        TokenError::NoKeys => {
            let message = "the token cannot be checked now: the issuer's keys are not known yet";
            ("issuer", HttpRejection::new(ErrorCode::Unavailable, message), None)
        }
    }
}

fn unauthorized(why: impl Into<String>, challenge: &'static str) -> HttpRejection {
    HttpRejection::new(ErrorCode::Unauthorized, why).challenge(challenge)
}

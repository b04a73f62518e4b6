//! Tokens (JWT, RFC 7519) of one issuer. The rules follow RFC 8725: the algorithm comes from the settings and the key, never
//! from the token alone; issuer, audience and expiry are always required; keys inside a token (`jwk`, `jku`, `x5c`) are
//! never used.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Header, Validation, decode, decode_header};
use moka::sync::Cache;
use ring::digest::{SHA256, digest};
use serde_json::Value;
use tokio::sync::{Mutex, Semaphore};

use super::caller::{Caller, CallerKind};
use super::claims::{Claims, NameList};
use super::jwks_source::JwksSource;
use super::key_set::KeySet;
use super::metrics::AuthMetrics;
use super::rate_limit::CallerLimits;
use super::ring_provider;
use crate::settings::JwtSettings;

/// Longer tokens are rejected unread.
const MAX_TOKEN: usize = 8192;
/// Maximum length of a subject, in bytes.
const MAX_SUBJECT: usize = 256;
/// Tolerated difference between the clocks of the issuer and this machine (`exp`, `nbf`), in seconds.
const CLOCK_LEEWAY_S: u64 = 30;
/// Maximum number of requests with unknown keys that wait for the issuer at once.
const MAX_WAITING: usize = 64;
/// Maximum number of verified tokens to remember, so that their signature is not verified again.
const MAX_VERIFIED: u64 = 10_000;
/// Maximum number of subjects whose use is remembered, and for how long after the last request: a day, for the daily rows,
/// and an hour.
const MAX_CALLERS: u64 = 100_000;
const CALLER_IDLE: Duration = Duration::from_secs(25 * 3600);

/// The algorithm with this name, if tokens may be signed with it.
///
/// # Errors
/// For algorithms with shared secrets, for `none`, and for unknown names.
pub(super) fn algorithm(name: &str) -> Result<Algorithm, String> {
    match name.parse::<Algorithm>() {
        Ok(algorithm) if algorithm.family() == AlgorithmFamily::Hmac => Err(format!(
            "holds {name}, which signs with a shared secret: expected a public key algorithm such as RS256"
        )),
        Ok(algorithm) => Ok(algorithm),
        Err(_) => Err(format!("holds {name:?}, expected names such as RS256, ES256 or EdDSA")),
    }
}

/// Verifies tokens. The keys of the issuer are replaced by `refresh`.
#[derive(Debug)]
pub(super) struct TokenVerifier {
    /// One set of rules for each accepted algorithm.
    rules: Vec<(Algorithm, Validation)>,
    scope: Option<String>,
    /// The claim that lists the models of a token.
    models_claim: Option<String>,
    cooldown: Duration,
    source: JwksSource,
    keys: ArcSwapOption<KeySet>,
    /// Permits for requests that wait for the issuer, so that callers without credentials cannot delay the others.
    waiting: Semaphore,
    /// When the keys were last requested, and whether that succeeded. Locked during the read.
    last_read: Mutex<Option<(Instant, bool)>>,
    /// Verified tokens by their SHA-256.
    verified: Cache<[u8; 32], VerifiedToken>,
    /// Callers by their subject.
    callers: Cache<String, Arc<Caller>>,
    limits: CallerLimits,
    metrics: AuthMetrics,
}

/// A token that was verified.
#[derive(Clone, Debug)]
struct VerifiedToken {
    caller: Arc<Caller>,
    expires_s: u64,
    /// Digest of the key set that verified it.
    keys: blake3::Hash,
}

/// Why a token is rejected.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TokenError {
    /// It is invalid for this reason: 401.
    Invalid(&'static str),
    /// It lacks the required scope; holds the subject: 403.
    Scope(Box<str>),
    /// The issuer's keys are not known yet, or too many requests wait for them: 503.
    NoKeys,
}

impl TokenVerifier {
    /// A verifier without keys; [`TokenVerifier::refresh`] reads them.
    ///
    /// # Errors
    /// If the settings cannot be used.
    pub(super) fn new(settings: &JwtSettings, limits: CallerLimits, metrics: AuthMetrics) -> Result<Self, String> {
        ring_provider::install();
        metrics.init_failures("jwks");
        let mut rules = Vec::new();
        for name in &settings.algorithms {
            let algorithm = algorithm(name)?;
            let mut rule = Validation::new(algorithm);
            rule.leeway = CLOCK_LEEWAY_S;
            rule.validate_nbf = true;
            rule.set_issuer(&[&settings.issuer]);
            rule.set_audience(&[&settings.audience]);
            rule.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
            rules.push((algorithm, rule));
        }
        Ok(Self {
            rules,
            scope: Some(settings.scope.clone()).filter(|scope| !scope.is_empty()),
            models_claim: Some(settings.models_claim.clone()).filter(|claim| !claim.is_empty()),
            cooldown: settings.cooldown,
            source: JwksSource::new(settings)?,
            keys: ArcSwapOption::empty(),
            waiting: Semaphore::new(MAX_WAITING),
            last_read: Mutex::new(None),
            verified: Cache::new(MAX_VERIFIED),
            callers: Cache::builder().max_capacity(MAX_CALLERS).time_to_idle(CALLER_IDLE).build(),
            limits,
            metrics,
        })
    }

    /// The caller of this token. May wait for the issuer if the token names an unknown key.
    ///
    /// # Errors
    /// Why the token is rejected.
    pub(super) async fn verify(self: &Arc<Self>, token: &str, now_s: u64) -> Result<Arc<Caller>, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::Invalid("it is too long"));
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        if let Some(verified) = self.verified.get(&fingerprint)
            && now_s < verified.expires_s
            && self.keys.load().as_ref().is_some_and(|keys| keys.digest == verified.keys)
        {
            return Ok(verified.caller);
        }
        let header = decode_header(token).map_err(|_| TokenError::Invalid("it is not a readable token"))?;
        let rule = self.rule(&header)?;
        let find = || {
            let keys = self.keys.load_full()?;
            keys.find(header.kid.as_deref(), header.alg).cloned().map(|key| (keys.digest, key))
        };
        let found = match find() {
            Some(found) => Some(found),
            None => {
                let _permit = self.waiting.try_acquire().map_err(|_| TokenError::NoKeys)?;
                self.refresh(self.cooldown).await;
                find()
            }
        };
        let Some((keys, key)) = found else {
            return Err(if self.has_keys() {
                TokenError::Invalid("it is signed with a key that the issuer does not have")
            } else {
                TokenError::NoKeys
            });
        };
        let (caller, expires_s) = self.verify_with(token, &key, rule)?;
        self.verified.insert(fingerprint, VerifiedToken { caller: Arc::clone(&caller), expires_s, keys });
        Ok(caller)
    }

    /// Whether the issuer has a key that tokens can be checked with.
    pub(super) fn has_usable_keys(&self) -> bool {
        self.keys.load().as_ref().is_some_and(|keys| keys.len() > 0)
    }

    /// Whether the issuer's keys are known.
    pub(super) fn has_keys(&self) -> bool {
        self.keys.load().is_some()
    }

    fn rule(&self, header: &Header) -> Result<&Validation, TokenError> {
        if header.crit.is_some() || header.enc.is_some() || header.zip.is_some() {
            return Err(TokenError::Invalid("it needs unknown extensions"));
        }
        let kind = header.typ.as_deref().map(|kind| kind.to_ascii_lowercase());
        if !matches!(kind.as_deref(), None | Some("jwt" | "at+jwt" | "application/at+jwt")) {
            return Err(TokenError::Invalid("it is a token for another purpose (typ)"));
        }
        let rule = self.rules.iter().find(|(algorithm, _)| *algorithm == header.alg);
        rule.map(|(_, rule)| rule).ok_or(TokenError::Invalid("its algorithm is not accepted"))
    }

    fn verify_with(&self, token: &str, key: &DecodingKey, rule: &Validation) -> Result<(Arc<Caller>, u64), TokenError> {
        let claims =
            decode::<Claims>(token, key, rule).map_err(|error| TokenError::Invalid(reason(error.kind())))?.claims;
        let valid = (1..=MAX_SUBJECT).contains(&claims.sub.len()) && !claims.sub.chars().any(char::is_control);
        if !valid {
            return Err(TokenError::Invalid("its subject is empty, too long or not printable"));
        }
        if let Some(required) = &self.scope
            && ![&claims.scope, &claims.scp].into_iter().flatten().any(|scopes| scopes.contains(required))
        {
            return Err(TokenError::Scope(claims.sub.into()));
        }
        let new =
            || Arc::new(Caller::new(&CallerKind::TokenSubject, &claims.sub, self.limits, None, &self.metrics, None));
        let caller = self.callers.get_with_by_ref(&claims.sub, new);
        let caller = match self.models(claims.others)? {
            Some(models) => Arc::new(caller.limited_to(models)),
            None => caller,
        };
        Ok((caller, (claims.exp as u64).saturating_add(CLOCK_LEEWAY_S)))
    }

    /// The models that a token with these claims is for; `None` if it is for all of them.
    fn models(&self, mut claims: BTreeMap<String, Value>) -> Result<Option<Vec<String>>, TokenError> {
        let Some(name) = &self.models_claim else { return Ok(None) };
        let invalid = |_| TokenError::Invalid("its claim of models is neither text nor a list of names");
        let names = claims.remove(name).map(serde_json::from_value::<NameList>).transpose().map_err(invalid)?;
        let names = names.map(NameList::into_names).unwrap_or_default();
        Ok(Some(names).filter(|names| !names.iter().any(|name| name == "*")))
    }

    /// Reads the issuer's keys, unless they were requested within the last `cooldown`. Concurrent calls share one read.
    /// Returns whether the last read succeeded.
    pub(super) async fn refresh(self: &Arc<Self>, cooldown: Duration) -> bool {
        let mut last_read = self.last_read.lock().await;
        if let Some((at, succeeded)) = *last_read
            && at.elapsed() < cooldown
        {
            return succeeded;
        }
        *last_read = Some((Instant::now(), false));
        let tokens = Arc::clone(self);
        // a panic in `read` is reported by the panic hook; the keys stay as they were
        let succeeded = tokio::task::spawn_blocking(move || tokens.read()).await.unwrap_or(false);
        *last_read = Some((Instant::now(), succeeded));
        succeeded
    }

    fn read(&self) -> bool {
        let source = self.source.shown();
        match self.source.read() {
            Ok(keys) => {
                self.metrics.set_jwks_read();
                if self.keys.load().as_ref().is_none_or(|before| before.digest != keys.digest) {
                    match keys.len() {
                        0 => tracing::error!(
                            source,
                            "the issuer has no key for signatures any more, all tokens are refused"
                        ),
                        count => tracing::info!(source, keys = count, "issuer keys loaded"),
                    }
                    self.keys.store(Some(Arc::new(keys)));
                    self.verified.invalidate_all();
                }
                true
            }
            Err(reason) => {
                self.metrics.reload_failed("jwks");
                tracing::warn!(source, reason, known = self.has_keys(), "the issuer's keys cannot be read");
                false
            }
        }
    }
}

fn reason(error: &ErrorKind) -> &'static str {
    match error {
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not valid yet",
        ErrorKind::InvalidIssuer => "it is from another issuer",
        ErrorKind::InvalidAudience => "it is for another audience",
        ErrorKind::InvalidSignature => "its signature is invalid",
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) | ErrorKind::Json(_) => {
            "exp, iss, aud or sub is missing or invalid"
        }
        _ => "it is not a readable token",
    }
}

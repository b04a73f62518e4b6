//! Tokens (JWT, RFC 7519) of one issuer. What must hold follows RFC 8725: the algorithm comes from the settings and the
//! key, never from the token alone; issuer, audience and expiry are always asked for; keys that a token brings along
//! (`jwk`, `jku`, `x5c`) are never used.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Header, Validation, decode, decode_header};
use moka::sync::Cache;
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::allowance::Limits;
use super::caller::{Caller, Kind};
use super::counts::Counts;
use super::issuer::Issuer;
use super::key_set::KeySet;
use super::ring_provider;
use crate::bound::Bound;
use crate::settings::Jwt;

/// Longer tokens are not looked at.
const LONGEST: usize = 8192;
/// Longest subject.
const LONGEST_SUBJECT: usize = 256;
/// Requests with unknown keys that wait for the issuer at once.
const WAITING: usize = 64;
/// Tokens that are remembered as good, so that their signature is not computed again.
const REMEMBERED: u64 = 10_000;
/// Subjects whose use is remembered, and for how long after the last one: a day's rows and an hour.
const CALLERS: u64 = 100_000;
const CALLER_IDLE: Duration = Duration::from_secs(25 * 3600);

/// The algorithm of that name, if tokens may be signed with it.
///
/// # Errors
/// For shared secrets, for `none`, and for what is unknown.
pub(crate) fn algorithm(name: &str) -> Result<Algorithm, String> {
    match name.parse::<Algorithm>() {
        Ok(algorithm) if algorithm.family() == AlgorithmFamily::Hmac => Err(format!(
            "holds {name}, which signs with a shared secret: expected a public key algorithm such as RS256"
        )),
        Ok(algorithm) => Ok(algorithm),
        Err(_) => Err(format!("holds {name:?}, expected names such as RS256, ES256 or EdDSA")),
    }
}

/// The check of tokens.
#[derive(Debug)]
pub(super) struct Tokens {
    rules: Vec<(Algorithm, Validation)>,
    scope: Option<String>,
    leeway_s: u64,
    cooldown: Duration,
    issuer: Issuer,
    keys: ArcSwapOption<KeySet>,
    /// Requests that may wait for the issuer at once: nobody without credentials holds up those who have some.
    waiting: Bound,
    /// When the keys were last asked for, and whether they came.
    asked: Mutex<Option<(Instant, bool)>>,
    good: Cache<[u8; 32], Good>,
    callers: Cache<String, Arc<Caller>>,
    limits: Limits,
    counts: Counts,
}

/// A token that was found good.
#[derive(Clone, Debug)]
struct Good {
    caller: Arc<Caller>,
    until_s: u64,
    keys: blake3::Hash,
}

/// Why a token is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// For the reason: 401.
    Token(&'static str),
    /// It lacks the scope: 403.
    Scope(Box<str>),
    /// The issuer's keys are not known yet, or many wait for them already: 503.
    NoKeys,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: f64,
    scope: Option<Words>,
    scp: Option<Words>,
}

/// Words in one text, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    Text(String),
    List(Vec<String>),
}

impl Words {
    fn has(&self, wanted: &str) -> bool {
        match self {
            Self::Text(text) => text.split(' ').any(|word| word == wanted),
            Self::List(words) => words.iter().any(|word| word == wanted),
        }
    }
}

impl Tokens {
    /// Prepares the check; keys are read by [`Tokens::refresh`].
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub(super) fn new(settings: &Jwt, limits: Limits, counts: Counts) -> Result<Self, String> {
        ring_provider::install();
        counts.watch("jwks");
        let mut rules = Vec::new();
        for name in &settings.algorithms {
            let algorithm = algorithm(name)?;
            let mut rule = Validation::new(algorithm);
            rule.leeway = settings.leeway.as_secs();
            rule.validate_nbf = true;
            rule.set_issuer(&[&settings.issuer]);
            rule.set_audience(&[&settings.audience]);
            rule.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
            rules.push((algorithm, rule));
        }
        Ok(Self {
            rules,
            scope: Some(settings.scope.clone()).filter(|scope| !scope.is_empty()),
            leeway_s: settings.leeway.as_secs(),
            cooldown: settings.cooldown,
            issuer: Issuer::new(settings)?,
            keys: ArcSwapOption::empty(),
            waiting: Bound::new(WAITING),
            asked: Mutex::new(None),
            good: Cache::new(REMEMBERED),
            callers: Cache::builder().max_capacity(CALLERS).time_to_idle(CALLER_IDLE).build(),
            limits,
            counts,
        })
    }

    /// Whose token this is. May wait for the issuer when the token names a key that is not known.
    ///
    /// # Errors
    /// Why it is not taken.
    pub(super) async fn check(self: &Arc<Self>, token: &str, now_s: u64) -> Result<Arc<Caller>, Bad> {
        if token.len() > LONGEST {
            return Err(Bad::Token("it is too long"));
        }
        let mut print = [0; 32];
        print.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        if let Some(good) = self.good.get(&print)
            && now_s < good.until_s
            && self.keys.load().as_ref().is_some_and(|keys| keys.digest == good.keys)
        {
            return Ok(good.caller);
        }
        let header = decode_header(token).map_err(|_| Bad::Token("it is no token that can be read"))?;
        let rule = self.rule(&header)?;
        let find = || {
            let keys = self.keys.load_full()?;
            keys.find(header.kid.as_deref(), header.alg).cloned().map(|key| (keys.digest, key))
        };
        let found = match find() {
            Some(found) => Some(found),
            None => {
                let _place = self.waiting.take(1).ok_or(Bad::NoKeys)?;
                self.refresh(self.cooldown).await;
                find()
            }
        };
        let Some((keys, key)) = found else {
            return Err(if self.has_keys() {
                Bad::Token("it is signed with a key that the issuer does not have")
            } else {
                Bad::NoKeys
            });
        };
        let (caller, until_s) = self.verify(token, &key, rule)?;
        self.good.insert(print, Good { caller: Arc::clone(&caller), until_s, keys });
        Ok(caller)
    }

    /// Whether the issuer's keys are known.
    pub(super) fn has_keys(&self) -> bool {
        self.keys.load().is_some()
    }

    fn rule(&self, header: &Header) -> Result<&Validation, Bad> {
        if header.crit.is_some() || header.enc.is_some() || header.zip.is_some() {
            return Err(Bad::Token("it needs extensions that are not known here"));
        }
        let kind = header.typ.as_deref().map(|kind| kind.to_ascii_lowercase());
        if !matches!(kind.as_deref(), None | Some("jwt" | "at+jwt" | "application/at+jwt")) {
            return Err(Bad::Token("it is a token for something else (typ)"));
        }
        let rule = self.rules.iter().find(|(algorithm, _)| *algorithm == header.alg);
        rule.map(|(_, rule)| rule).ok_or(Bad::Token("its algorithm is not accepted here"))
    }

    fn verify(&self, token: &str, key: &DecodingKey, rule: &Validation) -> Result<(Arc<Caller>, u64), Bad> {
        let claims = decode::<Claims>(token, key, rule).map_err(|error| Bad::Token(told(error.kind())))?.claims;
        let legal = (1..=LONGEST_SUBJECT).contains(&claims.sub.len()) && !claims.sub.chars().any(char::is_control);
        if !legal {
            return Err(Bad::Token("its subject is empty, too long or not printable"));
        }
        if let Some(wanted) = &self.scope
            && ![&claims.scope, &claims.scp].into_iter().flatten().any(|words| words.has(wanted))
        {
            return Err(Bad::Scope(claims.sub.into()));
        }
        let new = || Arc::new(Caller::new(&Kind::Token, &claims.sub, self.limits, None, &self.counts, None));
        let caller = self.callers.get_with_by_ref(&claims.sub, new);
        Ok((caller, (claims.exp as u64).saturating_add(self.leeway_s)))
    }

    /// Reads the issuer's keys, unless they were asked for within `rest`. Who comes meanwhile waits for the same read. Tells
    /// whether the last read went well.
    pub(super) async fn refresh(self: &Arc<Self>, rest: Duration) -> bool {
        let mut asked = self.asked.lock().await;
        if let Some((at, well)) = *asked
            && at.elapsed() < rest
        {
            return well;
        }
        *asked = Some((Instant::now(), false));
        let tokens = Arc::clone(self);
        // a panic in there is told by the panic hook; the keys stay as they were
        let well = tokio::task::spawn_blocking(move || tokens.read()).await.unwrap_or(false);
        *asked = Some((Instant::now(), well));
        well
    }

    fn read(&self) -> bool {
        let shown = self.issuer.shown();
        match self.issuer.read() {
            Ok(keys) => {
                self.counts.jwks_read();
                if self.keys.load().as_ref().is_none_or(|before| before.digest != keys.digest) {
                    tracing::info!(from = shown, keys = keys.len(), "the issuer's keys were read");
                    self.keys.store(Some(Arc::new(keys)));
                    self.good.invalidate_all();
                }
                true
            }
            Err(reason) => {
                self.counts.failed("jwks");
                tracing::warn!(from = shown, reason, known = self.has_keys(), "the issuer's keys cannot be read");
                false
            }
        }
    }
}

fn told(error: &ErrorKind) -> &'static str {
    match error {
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not valid yet",
        ErrorKind::InvalidIssuer => "it is of another issuer",
        ErrorKind::InvalidAudience => "it is for another audience",
        ErrorKind::InvalidSignature => "its signature is wrong",
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) | ErrorKind::Json(_) => {
            "exp, iss, aud or sub is missing or is none"
        }
        _ => "it is no token that can be read",
    }
}

//! A caller that was identified.

use forebay_contract::ErrorCode;
use forebay_runtime::prometheus_client::metrics::counter::Counter;

use super::metrics::AuthMetrics;
use super::rate_limit::{CallerLimits, CallerRateLimit};
use crate::rejection::HttpRejection;

/// The holder of a key with this name, or of a token with this subject. Shared by all its requests.
#[derive(Debug)]
pub struct Caller {
    name: Box<str>,
    identity: Box<str>,
    models: Option<Vec<String>>,
    rate_limit: CallerRateLimit,
    requests: Counter,
    rows: Counter,
    rejected: RejectedRequests,
}

/// Counters of rejected requests of this caller, by the limit that it exceeded.
#[derive(Debug)]
struct RejectedRequests {
    rate: Counter,
    daily_rows: Counter,
    models: Counter,
}

/// How a caller is identified.
pub(super) enum CallerKind {
    /// The name of an API key.
    ApiKey,
    /// The subject of a token.
    TokenSubject,
}

impl Caller {
    /// A caller. Pass the previous state of the same caller as `before` to keep what it has used.
    pub(super) fn new(
        kind: &CallerKind,
        name: &str,
        limits: CallerLimits,
        models: Option<Vec<String>>,
        metrics: &AuthMetrics,
        before: Option<&Self>,
    ) -> Self {
        let (prefix, label) = match kind {
            CallerKind::ApiKey => ("key", name),
            // there are too many subjects for a label
            CallerKind::TokenSubject => ("jwt", "jwt"),
        };
        let rate_limit = before.map_or_else(|| CallerRateLimit::new(limits), |before| before.rate_limit.with(limits));
        Self {
            name: name.into(),
            identity: format!("{prefix}:{name}").into(),
            models,
            rate_limit,
            requests: metrics.requests(label),
            rows: metrics.rows(label),
            rejected: RejectedRequests {
                rate: metrics.limited(label, "rate"),
                daily_rows: metrics.limited(label, "daily_rows"),
                models: metrics.limited(label, "models"),
            },
        }
    }

    /// Name for logs and traces.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Unique among all callers: a key and a token with the same name differ.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Whether limits and models are the same as these.
    pub(super) fn has(&self, limits: CallerLimits, models: Option<&Vec<String>>) -> bool {
        self.rate_limit.limits() == limits && self.models.as_ref() == models
    }

    /// Whether the caller may use `model`.
    pub fn may_use(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.iter().any(|known| known == model))
    }

    /// Counts one request against the rate.
    ///
    /// # Errors
    /// `overloaded`, with the time to wait.
    pub(super) fn count_request(&self) -> Result<(), HttpRejection> {
        self.requests.inc();
        self.rate_limit.request().map_err(|wait| {
            self.rejected.rate.inc();
            let rate = self.rate_limit.limits().rate;
            let message = format!("more than {rate} requests per second, the limit of {}", self.name);
            HttpRejection::limit_exceeded(message, wait)
        })
    }

    /// Checks that the caller may use `model`, and counts `rows` against its daily rows.
    ///
    /// # Errors
    /// `forbidden` for a model that it may not use; `overloaded` if the daily rows are used up.
    pub fn authorize(&self, model: &str, rows: usize, now_s: u64) -> Result<(), HttpRejection> {
        if !self.may_use(model) {
            self.rejected.models.inc();
            return Err(HttpRejection::new(
                ErrorCode::Forbidden,
                format!("{} is not allowed to use model {model:?}", self.name),
            ));
        }
        self.rate_limit.rows(rows, now_s).map_err(|wait| {
            self.rejected.daily_rows.inc();
            let limit = self.rate_limit.limits().daily_rows;
            HttpRejection::limit_exceeded(
                format!("{rows} more rows exceed the daily limit of {} ({limit})", self.name),
                wait,
            )
        })?;
        self.rows.inc_by(u64::try_from(rows).unwrap_or(u64::MAX));
        Ok(())
    }
}

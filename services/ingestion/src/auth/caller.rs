//! A caller that was identified.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use forebay_contract::ErrorCode;
use forebay_runtime::prometheus_client::metrics::counter::Counter;

use super::metrics::AuthMetrics;
use super::rate_limit::{CallerLimits, CallerRateLimit};
use crate::rejection::HttpRejection;

/// How long a caller with too many rows in flight should wait.
const RETRY: Duration = Duration::from_secs(1);

/// The holder of a key with this name, or of a token with this subject. Shared by all its requests.
#[derive(Debug)]
pub struct Caller {
    name: Box<str>,
    identity: Box<str>,
    models: Option<Vec<String>>,
    /// Rows that wait for their answers.
    in_flight: Arc<AtomicUsize>,
    rate_limit: Arc<CallerRateLimit>,
    requests: Counter,
    rows: Counter,
    rejected: RejectedRequests,
}

/// Counters of rejected requests of this caller, by the limit that it exceeded.
#[derive(Clone, Debug)]
struct RejectedRequests {
    rate: Counter,
    daily_rows: Counter,
    in_flight: Counter,
    models: Counter,
}

/// Rows of a caller in flight, until it is dropped.
#[derive(Debug)]
pub struct CallerRows {
    rows: usize,
    in_flight: Arc<AtomicUsize>,
}

impl Drop for CallerRows {
    fn drop(&mut self) {
        self.in_flight.fetch_sub(self.rows, Ordering::AcqRel);
    }
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
            in_flight: before.map(|before| Arc::clone(&before.in_flight)).unwrap_or_default(),
            rate_limit: Arc::new(rate_limit),
            requests: metrics.requests(label),
            rows: metrics.rows(label),
            rejected: RejectedRequests {
                rate: metrics.limited(label, "rate"),
                daily_rows: metrics.limited(label, "daily_rows"),
                in_flight: metrics.limited(label, "in_flight"),
                models: metrics.limited(label, "models"),
            },
        }
    }

    /// The same caller with these models and no others: what it uses counts for both.
    pub(super) fn limited_to(&self, models: Vec<String>) -> Self {
        Self {
            name: self.name.clone(),
            identity: self.identity.clone(),
            models: Some(models),
            in_flight: Arc::clone(&self.in_flight),
            rate_limit: Arc::clone(&self.rate_limit),
            requests: self.requests.clone(),
            rows: self.rows.clone(),
            rejected: self.rejected.clone(),
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

    /// Takes `rows` of the `limit` that the caller may have in flight, until the result is dropped.
    ///
    /// # Errors
    /// `overloaded` if it would have more.
    pub fn begin(&self, rows: usize, limit: usize) -> Result<CallerRows, HttpRejection> {
        let add = |now: usize| now.checked_add(rows).filter(|sum| *sum <= limit);
        match self.in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, add) {
            Ok(_) => Ok(CallerRows { rows, in_flight: Arc::clone(&self.in_flight) }),
            Err(_) => {
                self.rejected.in_flight.inc();
                let message = format!("{rows} more rows exceed what {} may have in flight ({limit})", self.name);
                Err(HttpRejection::limit_exceeded(message, RETRY))
            }
        }
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

    /// Checks that the caller may use `model`, whether or not there is one.
    ///
    /// # Errors
    /// `forbidden` for a model that it may not use.
    pub fn check_model(&self, model: &str) -> Result<(), HttpRejection> {
        if self.may_use(model) {
            return Ok(());
        }
        self.rejected.models.inc();
        let text = format!("{} is not allowed to use model {model:?}", self.name);
        Err(HttpRejection::new(ErrorCode::Forbidden, text))
    }

    /// Checks that the caller may use `model`, and counts `rows` against its daily rows.
    ///
    /// # Errors
    /// `forbidden` for a model that it may not use; `overloaded` if the daily rows are used up.
    pub fn authorize(&self, model: &str, rows: usize, now_s: u64) -> Result<(), HttpRejection> {
        self.check_model(model)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_its_share_in_flight_and_no_more() {
        let metrics = AuthMetrics::default();
        let new = |before: Option<&Caller>| {
            Caller::new(&CallerKind::ApiKey, "a", CallerLimits::default(), None, &metrics, before)
        };
        let caller = new(None);
        let held = caller.begin(90, 100).unwrap();
        let refused = caller.begin(11, 100).unwrap_err();
        assert_eq!(refused.problem.code, ErrorCode::Overloaded);
        let last = caller.begin(10, 100).unwrap();
        assert!(new(Some(&caller)).begin(1, 100).is_err(), "a line that changes gives back nothing");
        drop(held);
        assert!(caller.begin(91, 100).is_err());
        drop(last);
        caller.begin(100, 100).unwrap();
        assert!(new(None).begin(100, 100).is_ok(), "others have their own");
    }
}

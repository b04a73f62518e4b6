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
#[derive(Clone, Debug)]
pub struct Caller {
    name: Box<str>,
    identity: Box<str>,
    models: Option<Vec<String>>,
    admin: bool,
    /// What waits for its answers.
    in_flight: Arc<InFlight>,
    rate_limit: Arc<CallerRateLimit>,
    /// The rate of requests that fetch answers.
    fetch_limit: Arc<CallerRateLimit>,
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

/// Rows of a caller that wait for their answers, and their bytes.
#[derive(Debug, Default)]
struct InFlight {
    rows: AtomicUsize,
    bytes: AtomicUsize,
}

/// How much of something a request has or a caller may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowLoad {
    /// Rows.
    pub rows: usize,
    /// Their bytes, and those of bodies.
    pub bytes: usize,
}

/// Rows of a caller in flight, until it is dropped.
#[derive(Debug)]
pub struct CallerRows {
    load: RowLoad,
    in_flight: Arc<InFlight>,
}

impl CallerRows {
    /// Gives back both together.
    pub(crate) fn merge(&mut self, mut other: Self) {
        let RowLoad { rows, bytes } = std::mem::take(&mut other.load);
        self.load.rows += rows;
        self.load.bytes += bytes;
    }
}

impl Drop for CallerRows {
    fn drop(&mut self) {
        self.in_flight.rows.fetch_sub(self.load.rows, Ordering::AcqRel);
        self.in_flight.bytes.fetch_sub(self.load.bytes, Ordering::AcqRel);
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
            admin: false,
            in_flight: before.map(|before| Arc::clone(&before.in_flight)).unwrap_or_default(),
            rate_limit: Arc::new(rate_limit),
            fetch_limit: Arc::new(CallerRateLimit::new(limits)),
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

    /// The same caller, who may load and unload models if `admin`.
    pub(super) fn with_admin(self, admin: bool) -> Self {
        Self { admin, ..self }
    }

    /// The same caller with these models and no others: what it uses counts for both.
    pub(super) fn limited_to(&self, models: Vec<String>) -> Self {
        Self { models: Some(models), ..self.clone() }
    }

    /// Name for logs and traces.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Unique among all callers: a key and a token with the same name differ.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Whether limits, models and rights are the same as these.
    pub(super) fn has(&self, limits: CallerLimits, models: Option<&Vec<String>>, admin: bool) -> bool {
        self.rate_limit.limits() == limits && self.models.as_ref() == models && self.admin == admin
    }

    /// Whether the caller may load and unload models, where requests can.
    pub fn is_admin(&self) -> bool {
        self.admin
    }

    /// Whether the caller may use `model`.
    pub fn may_use(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.iter().any(|known| known == model))
    }

    /// Takes `load` of the `limit` that the caller may have in flight, until the result is dropped.
    ///
    /// # Errors
    /// `overloaded` if it would have more.
    pub fn begin(&self, load: RowLoad, limit: RowLoad) -> Result<CallerRows, HttpRejection> {
        let take = |what: &AtomicUsize, more: usize, limit: usize| {
            let add = |now: usize| now.checked_add(more).filter(|sum| *sum <= limit);
            what.fetch_update(Ordering::AcqRel, Ordering::Acquire, add).is_ok()
        };
        let RowLoad { rows, bytes } = load;
        if !take(&self.in_flight.rows, rows, limit.rows) {
            return Err(self.too_much_in_flight(format!("{rows} more rows"), limit.rows));
        }
        if !take(&self.in_flight.bytes, bytes, limit.bytes) {
            self.in_flight.rows.fetch_sub(rows, Ordering::AcqRel);
            return Err(self.too_much_in_flight(format!("{bytes} more bytes"), limit.bytes));
        }
        Ok(CallerRows { load, in_flight: Arc::clone(&self.in_flight) })
    }

    fn too_much_in_flight(&self, more: String, limit: usize) -> HttpRejection {
        self.rejected.in_flight.inc();
        let message = format!("{more} exceed what {} may have in flight ({limit})", self.name);
        HttpRejection::limit_exceeded(message, RETRY)
    }

    /// Counts one request against the rate.
    ///
    /// # Errors
    /// `overloaded`, with the time to wait.
    pub(super) fn count_request(&self) -> Result<(), HttpRejection> {
        self.requests.inc();
        self.count(&self.rate_limit, "requests")
    }

    /// Counts one request that fetches an answer against their rate, which is as high.
    ///
    /// # Errors
    /// `overloaded`, with the time to wait.
    pub(super) fn count_fetch(&self) -> Result<(), HttpRejection> {
        self.count(&self.fetch_limit, "requests for answers")
    }

    fn count(&self, limit: &CallerRateLimit, what: &str) -> Result<(), HttpRejection> {
        limit.request().map_err(|wait| {
            self.rejected.rate.inc();
            let rate = limit.limits().rate;
            let message = format!("more than {rate} {what} per second, the limit of {}", self.name);
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

    /// Counts `rows` against the caller's daily rows.
    ///
    /// # Errors
    /// `overloaded` if the daily rows are used up.
    pub fn count_rows(&self, rows: usize, now_s: u64) -> Result<(), HttpRejection> {
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
        let load = |rows, bytes| RowLoad { rows, bytes };
        let (caller, limit) = (new(None), load(100, 1000));
        let held = caller.begin(load(90, 100), limit).unwrap();
        let refused = caller.begin(load(11, 1), limit).unwrap_err();
        assert_eq!(refused.problem.code, ErrorCode::Overloaded);
        let refused = caller.begin(load(1, 901), limit).unwrap_err();
        assert!(refused.problem.message.contains("901 more bytes"), "{}", refused.problem.message);
        let last = caller.begin(load(10, 900), limit).unwrap();
        assert!(new(Some(&caller)).begin(load(1, 0), limit).is_err(), "a line that changes gives back nothing");
        drop(held);
        assert!(caller.begin(load(91, 0), limit).is_err() && caller.begin(load(0, 101), limit).is_err());
        drop(last);
        drop(caller.begin(load(100, 1000), limit).unwrap());
        caller.begin(load(100, 1000), limit).unwrap();
        assert!(new(None).begin(load(100, 1000), limit).is_ok(), "others have their own");
    }
}

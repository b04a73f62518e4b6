//! Metrics of callers. Labels are the names of keys, `jwt` for all tokens together, and short lists of reasons.

use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use forebay_runtime::Metrics;
use forebay_runtime::prometheus_client::metrics::counter::Counter;
use forebay_runtime::prometheus_client::metrics::family::Family;
use forebay_runtime::prometheus_client::metrics::gauge::Gauge;

type ByCaller = Family<[(&'static str, String); 1], Counter>;
type ByReason = Family<[(&'static str, &'static str); 1], Counter>;

/// Handles of the metrics. Clones share the values.
#[derive(Clone, Debug, Default)]
pub(super) struct AuthMetrics {
    requests: ByCaller,
    rows: ByCaller,
    limited: Family<[(&'static str, String); 2], Counter>,
    rejected: ByReason,
    failures: ByReason,
    keys: Gauge,
    jwks_read: Gauge<f64, AtomicU64>,
}

impl AuthMetrics {
    /// Registers the metrics, with those of the issuer if `tokens`.
    pub(super) fn register(metrics: &Metrics, tokens: bool) -> Self {
        let auth = Self::default();
        metrics.register(
            "forebay_caller_requests",
            "Requests with valid credentials, by caller",
            auth.requests.clone(),
        );
        metrics.register("forebay_caller_rows", "Rows accepted, by caller", auth.rows.clone());
        let help = "Rejected requests of a caller, by the limit that it exceeded";
        metrics.register("forebay_caller_limited", help, auth.limited.clone());
        metrics.register(
            "forebay_auth_refused",
            "Requests without valid credentials, by reason",
            auth.rejected.clone(),
        );
        let help = "Failed reloads of keys; the previous ones stay in use";
        metrics.register("forebay_auth_reload_failures", help, auth.failures.clone());
        metrics.register("forebay_auth_keys", "API keys that are valid now", auth.keys.clone());
        if tokens {
            let help = "When the issuer's keys were last read, Unix time";
            metrics.register("forebay_auth_jwks_read_timestamp_seconds", help, auth.jwks_read.clone());
        }
        auth
    }

    pub(super) fn requests(&self, caller: &str) -> Counter {
        self.requests.get_or_create_owned(&[("caller", caller.to_owned())])
    }

    pub(super) fn rows(&self, caller: &str) -> Counter {
        self.rows.get_or_create_owned(&[("caller", caller.to_owned())])
    }

    pub(super) fn limited(&self, caller: &str, limit: &str) -> Counter {
        self.limited.get_or_create_owned(&[("caller", caller.to_owned()), ("limit", limit.to_owned())])
    }

    pub(super) fn rejected(&self, reason: &'static str) {
        self.rejected.get_or_create(&[("reason", reason)]).inc();
    }

    /// Initialises the failure counter at 0, so that `increase()` sees the first failure. `what` is `keys` or `jwks`.
    pub(super) fn init_failures(&self, what: &'static str) {
        drop(self.failures.get_or_create(&[("what", what)]));
    }

    /// Counts a failed reload.
    pub(super) fn reload_failed(&self, what: &'static str) {
        self.failures.get_or_create(&[("what", what)]).inc();
    }

    pub(super) fn set_keys(&self, keys: usize) {
        self.keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
    }

    pub(super) fn set_jwks_read(&self) {
        self.jwks_read.set(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    }
}

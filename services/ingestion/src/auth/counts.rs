//! What is counted of callers. Labels are names of keys, `jwt` for all tokens together, and short lists of reasons.

use std::sync::atomic::AtomicU64;
use std::time::{SystemTime, UNIX_EPOCH};

use forebay_runtime::Metrics;
use forebay_runtime::prometheus_client::metrics::counter::Counter;
use forebay_runtime::prometheus_client::metrics::family::Family;
use forebay_runtime::prometheus_client::metrics::gauge::Gauge;

type ByCaller = Family<[(&'static str, String); 1], Counter>;
type ByReason = Family<[(&'static str, &'static str); 1], Counter>;

/// Handles; clones share the numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    requests: ByCaller,
    rows: ByCaller,
    limited: Family<[(&'static str, String); 2], Counter>,
    refused: ByReason,
    failures: ByReason,
    keys: Gauge,
    read: Gauge<f64, AtomicU64>,
}

impl Counts {
    /// `tokens`: with what is counted of the issuer.
    pub(super) fn register(metrics: &Metrics, tokens: bool) -> Self {
        let counts = Self::default();
        metrics.register(
            "forebay_caller_requests",
            "Requests with good credentials, by caller",
            counts.requests.clone(),
        );
        metrics.register("forebay_caller_rows", "Rows accepted, by caller", counts.rows.clone());
        let help = "Requests of a caller that were refused, by the limit they met";
        metrics.register("forebay_caller_limited", help, counts.limited.clone());
        metrics.register(
            "forebay_auth_refused",
            "Requests without good credentials, by reason",
            counts.refused.clone(),
        );
        let help = "Reads of a file or address of credentials that failed and left the old ones in use";
        metrics.register("forebay_auth_reload_failures", help, counts.failures.clone());
        metrics.register("forebay_auth_keys", "API keys that count now", counts.keys.clone());
        if tokens {
            let help = "When the issuer's keys were last read, Unix time";
            metrics.register("forebay_auth_jwks_read_timestamp_seconds", help, counts.read.clone());
        }
        counts
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

    pub(super) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&[("reason", reason)]).inc();
    }

    /// Shows the failures of `what` from now on, none so far: an alert on a rise needs where it rises from.
    pub(super) fn watch(&self, what: &'static str) {
        drop(self.failures.get_or_create(&[("what", what)]));
    }

    /// `what` is `keys` or `jwks`.
    pub(super) fn failed(&self, what: &'static str) {
        self.failures.get_or_create(&[("what", what)]).inc();
    }

    pub(super) fn keys(&self, keys: usize) {
        self.keys.set(i64::try_from(keys).unwrap_or(i64::MAX));
    }

    pub(super) fn jwks_read(&self) {
        self.read.set(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    }
}

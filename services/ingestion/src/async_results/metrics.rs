//! Counters of requests that are answered later.

use forebay_runtime::Metrics;
use forebay_runtime::prometheus_client::metrics::counter::Counter;
use forebay_runtime::prometheus_client::metrics::family::Family;
use forebay_runtime::prometheus_client::metrics::gauge::Gauge;

/// Counters of requests that are answered later.
#[derive(Clone, Debug)]
pub(crate) struct AsyncMetrics {
    pub(super) accepted: Counter,
    pub(super) taken_over: Counter,
    /// Requests and calls in work.
    pub(super) running: Gauge,
    pub(super) calls: CallMetrics,
}

/// Counters of attempts to post an answer.
#[derive(Clone, Debug)]
pub(super) struct CallMetrics {
    pub(super) delivered: Counter,
    pub(super) failed: Counter,
    pub(super) given_up: Counter,
}

impl AsyncMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let (accepted, taken_over) = (Counter::default(), Counter::default());
        let help = "Requests that are answered later";
        metrics.register("forebay_async_requests", help, accepted.clone());
        let help = "Requests that are answered later, taken over from replicas that died";
        metrics.register("forebay_async_taken_over", help, taken_over.clone());
        let running = Gauge::default();
        metrics.register(
            "forebay_async_running",
            "Requests answered later, and their callbacks, in work",
            running.clone(),
        );
        let calls = Family::<[(&'static str, &'static str); 1], Counter>::default();
        metrics.register("forebay_async_callbacks", "Attempts to post an answer, by outcome", calls.clone());
        let of = |outcome| calls.get_or_create(&[("outcome", outcome)]).clone();
        let calls = CallMetrics { delivered: of("delivered"), failed: of("failed"), given_up: of("given_up") };
        Self { accepted, taken_over, running, calls }
    }
}

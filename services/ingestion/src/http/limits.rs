//! How much this replica admits at once: requests, bytes of bodies, and rows that wait for an answer.

use std::time::{Duration, Instant};

use forebay_bus::{ModelPermit, ModelShares, Permit, Permits};
use forebay_contract::{ErrorCode, Lane, Problem};
use forebay_runtime::Metrics;
use forebay_runtime::prometheus_client::metrics::gauge::Gauge;

use super::wait_estimates::{WaitEstimates, WaitingRows};
use crate::auth::{Caller, CallerRows, RowLoad};
use crate::rejection::HttpRejection;
use crate::settings::{AuthSettings, HttpSettings};

/// The three limits. A request that exceeds one is rejected at once and never waits. Clones share the permits.
#[derive(Clone, Debug)]
pub(crate) struct AdmissionLimits {
    requests: Permits,
    body_bytes: Permits,
    rows: Permits,
    /// The most of one caller.
    of_caller: RowLoad,
    models: ModelShares,
    waits: WaitEstimates,
    /// `forebay_http_waiting_rows`.
    waiting_rows: Gauge,
}

/// Permits for the rows of one request, until it is dropped.
pub(super) struct RowPermits {
    rows: i64,
    waiting_rows: Gauge,
    _permits: Permit,
    _bytes: Permit,
    _share: ModelPermit,
    _caller: Option<CallerRows>,
}

/// Permits for the bytes of a body, until it is dropped.
#[derive(Debug)]
pub(crate) struct BodyPermits {
    bytes: Permit,
    caller: Option<CallerRows>,
}

impl BodyPermits {
    /// Holds both together.
    pub(crate) fn merge(&mut self, other: Self) {
        self.bytes.merge(other.bytes);
        match (&mut self.caller, other.caller) {
            (Some(caller), Some(more)) => caller.merge(more),
            (caller, more) => *caller = caller.take().or(more),
        }
    }
}

impl AdmissionLimits {
    /// The limits that `http` and `auth` set.
    pub(crate) fn new(http: &HttpSettings, auth: &AuthSettings, metrics: &Metrics) -> Self {
        let waiting_rows = Gauge::default();
        metrics.register("forebay_http_waiting_rows", "Rows whose callers wait for an answer", waiting_rows.clone());
        Self {
            requests: Permits::new(http.max_requests),
            body_bytes: Permits::new(http.body_memory),
            rows: Permits::new(http.in_flight),
            of_caller: auth.load_of_caller(http),
            models: ModelShares::new(http.in_flight, http.max_rows),
            waits: WaitEstimates::new(http.max_wait),
            waiting_rows,
        }
    }

    /// A permit for one request, to hold until it is answered.
    pub(crate) fn acquire_request(&self) -> Result<Permit, Problem> {
        self.requests.try_take(1).ok_or_else(|| {
            let limit = self.requests.limit();
            overloaded(format!("too many concurrent requests (limit {limit}, http.max_requests)"))
        })
    }

    /// Permits for bytes of a body, which count for its caller as those of rows do. They can be merged with those of its
    /// earlier chunks.
    pub(crate) fn acquire_body(&self, bytes: usize, caller: Option<&Caller>) -> Result<BodyPermits, HttpRejection> {
        let caller = caller.map(|caller| caller.begin(RowLoad { rows: 0, bytes }, self.of_caller)).transpose()?;
        Ok(BodyPermits { bytes: self.acquire_bytes(bytes)?, caller })
    }

    fn acquire_bytes(&self, bytes: usize) -> Result<Permit, Problem> {
        self.body_bytes.try_take(bytes).ok_or_else(|| {
            let limit = self.body_bytes.limit();
            overloaded(format!("the memory for request bodies is exhausted (limit {limit} bytes, http.body_memory)"))
        })
    }

    /// Permits for the rows of one request to `model`. One model may have a share of the rows: callers of others are
    /// not refused because its answers take long.
    /// `bytes` is the size of the rows.
    pub(super) fn acquire_rows(
        &self,
        model: &str,
        rows: usize,
        bytes: usize,
        caller: Option<&Caller>,
    ) -> Result<RowPermits, HttpRejection> {
        // as they were parsed, and as they are encoded for the next stage
        let bytes = bytes.saturating_mul(2);
        let caller = caller.map(|caller| caller.begin(RowLoad { rows, bytes }, self.of_caller)).transpose()?;
        let bytes = self.acquire_bytes(bytes)?;
        let share = self.models.try_take(model, rows).ok_or_else(|| {
            let limit = self.models.limit();
            overloaded(format!(
                "{rows} more rows exceed the share of model {model:?} (limit {limit} of http.in_flight)"
            ))
        })?;
        let permits = self.rows.try_take(rows).ok_or_else(|| {
            let limit = self.rows.limit();
            overloaded(format!("{rows} more rows exceed the limit of waiting rows (limit {limit}, http.in_flight)"))
        })?;
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        self.waiting_rows.inc_by(rows);
        let waiting_rows = self.waiting_rows.clone();
        Ok(RowPermits { rows, waiting_rows, _permits: permits, _bytes: bytes, _share: share, _caller: caller })
    }
}

impl AdmissionLimits {
    /// Lets the rows of one request wait for their answers, unless that is to be expected to take longer than `longest`;
    /// `None` if it may take as long as it does.
    pub(super) fn wait(
        &self,
        model: &str,
        lane: Lane,
        rows: usize,
        longest: Option<Duration>,
    ) -> Result<WaitingRows, HttpRejection> {
        self.waits.enter(model, lane, rows, longest, Instant::now()).map_err(|wait| {
            let seconds = wait.as_secs_f64();
            let text = format!("an answer of model {model:?} would take about {seconds:.1} s (http.max_wait)");
            HttpRejection { retry_after: Some(wait), ..overloaded(text).into() }
        })
    }
}

impl Drop for RowPermits {
    fn drop(&mut self) {
        self.waiting_rows.dec_by(self.rows);
    }
}

fn overloaded(message: String) -> Problem {
    Problem::new(ErrorCode::Overloaded, message)
}

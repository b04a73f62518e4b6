//! How much this replica admits at once: requests, bytes of bodies, and rows that wait for an answer.

use std::sync::Arc;

use forebay_contract::{ErrorCode, Problem};
use forebay_runtime::Metrics;
use forebay_runtime::prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::settings::HttpSettings;

/// The three limits. A request that exceeds one is rejected at once and never waits. Clones share the permits.
#[derive(Clone, Debug)]
pub(crate) struct AdmissionLimits {
    requests: Limit,
    body_bytes: Limit,
    rows: Limit,
    /// `forebay_http_waiting_rows`.
    waiting_rows: Gauge,
}

/// A semaphore that remembers how many permits it started with.
#[derive(Clone, Debug)]
struct Limit {
    permits: Arc<Semaphore>,
    limit: usize,
}

/// Permits for the rows of one request, until it is dropped.
pub(super) struct RowPermits {
    rows: i64,
    waiting_rows: Gauge,
    _permits: OwnedSemaphorePermit,
}

impl AdmissionLimits {
    /// The limits that `http` sets.
    pub(crate) fn new(http: &HttpSettings, metrics: &Metrics) -> Self {
        let waiting_rows = Gauge::default();
        metrics.register("forebay_http_waiting_rows", "Rows whose callers wait for an answer", waiting_rows.clone());
        Self {
            requests: Limit::new(http.max_requests),
            body_bytes: Limit::new(http.body_memory),
            rows: Limit::new(http.in_flight),
            waiting_rows,
        }
    }

    /// A permit for one request, to hold until it is answered.
    pub(super) fn acquire_request(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.requests.try_acquire(1).ok_or_else(|| {
            let limit = self.requests.limit;
            overloaded(format!("too many concurrent requests (limit {limit}, http.max_requests)"))
        })
    }

    /// Permits for bytes of a body. They can be merged with those of its earlier chunks.
    pub(super) fn acquire_bytes(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        self.body_bytes.try_acquire(bytes).ok_or_else(|| {
            let limit = self.body_bytes.limit;
            overloaded(format!("the memory for request bodies is exhausted (limit {limit} bytes, http.body_memory)"))
        })
    }

    /// Permits for the rows of one request.
    pub(super) fn acquire_rows(&self, rows: usize) -> Result<RowPermits, Problem> {
        let permits = self.rows.try_acquire(rows).ok_or_else(|| {
            let limit = self.rows.limit;
            overloaded(format!("{rows} more rows exceed the limit of waiting rows (limit {limit}, http.in_flight)"))
        })?;
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        self.waiting_rows.inc_by(rows);
        Ok(RowPermits { rows, waiting_rows: self.waiting_rows.clone(), _permits: permits })
    }
}

impl Limit {
    fn new(limit: usize) -> Self {
        let limit = limit.min(Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(limit)), limit }
    }

    /// `amount` permits, or `None` if fewer are free.
    fn try_acquire(&self, amount: usize) -> Option<OwnedSemaphorePermit> {
        let amount = u32::try_from(amount).ok()?;
        Arc::clone(&self.permits).try_acquire_many_owned(amount).ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_never_more_than_the_limit() {
        let limit = Limit::new(10);
        let mut held = limit.try_acquire(4).unwrap();
        held.merge(limit.try_acquire(5).unwrap());
        assert!(limit.try_acquire(2).is_none());
        held.merge(limit.try_acquire(1).unwrap());
        assert!(limit.try_acquire(1).is_none() && limit.try_acquire(usize::MAX).is_none());
        assert!(limit.try_acquire(0).is_some());
        drop(held);
        assert!(limit.try_acquire(10).is_some());
        assert!(Limit::new(usize::MAX).try_acquire(1).is_some());
    }
}

//! Room for the rows of requests that wait.

use forebay_bus::{Permit, Permits};
use forebay_contract::{ErrorCode, Problem};
use forebay_runtime::Metrics;
use forebay_runtime::prometheus_client::metrics::gauge::Gauge;

/// All of it, and how much is taken.
#[derive(Clone, Debug)]
pub(crate) struct WaitingRoom {
    permits: Permits,
    waiting: Gauge,
}

/// Room for the rows of one request; dropped, it is free again.
pub(super) struct Seats {
    rows: i64,
    waiting: Gauge,
    _permit: Permit,
}

impl WaitingRoom {
    /// For so many rows.
    pub(crate) fn new(rows: usize, metrics: &Metrics) -> Self {
        let waiting = Gauge::default();
        metrics.register("forebay_http_waiting_rows", "Rows whose callers wait for an answer", waiting.clone());
        Self { permits: Permits::new(rows), waiting }
    }

    pub(super) fn seats(&self, rows: usize) -> Result<Seats, Problem> {
        let Some(permit) = self.permits.try_take(rows) else {
            let limit = self.permits.limit();
            let message = format!("{rows} more rows exceed the {limit} that may wait here (http.in_flight)");
            return Err(Problem::new(ErrorCode::Overloaded, message));
        };
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        self.waiting.inc_by(rows);
        Ok(Seats { rows, waiting: self.waiting.clone(), _permit: permit })
    }
}

impl Drop for Seats {
    fn drop(&mut self) {
        self.waiting.dec_by(self.rows);
    }
}

//! What the handlers share.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use forebay_contract::{ErrorCode, HttpOrigin, Problem};
use forebay_runtime::prometheus_client::metrics::counter::Counter;
use forebay_runtime::{Lifecycle, StageMetrics, StageTracer};

use super::limits::AdmissionLimits;
use super::rejections::RejectionReporter;
use super::tls::ServerCertificates;
use crate::admission::Timeouts;
use crate::async_results::AsyncResults;
use crate::auth::{Authenticator, CacheScopes};
use crate::batching::BatcherHandle;
use crate::exposure::Exposure;
use crate::model_rows::ModelRows;
use crate::open_inference::ModelStatistics;
use crate::pending::PendingRequests;
use crate::settings::HttpSettings;

/// State of the HTTP server. Each worker holds a clone; everything that changes is behind an `Arc` and common to them all.
#[derive(Clone)]
pub struct HttpState {
    /// Passes items to the batcher, which sends them into the mesh.
    pub batcher: BatcherHandle,
    /// Requests that wait for replies, shared with the inlet of the replies topic.
    pub pending: PendingRequests,
    /// How many requests, body bytes and waiting rows this replica admits at once.
    pub(crate) limits: AdmissionLimits,
    /// Default and greatest timeout of a request (`delivery.timeout`, `delivery.max_timeout`).
    pub timeouts: Timeouts,
    /// Number of partitions of the inner topics; 1 on memory edges.
    pub partitions: u32,
    /// Partition of the batch that is being filled, kept up to date by the batcher. It is the results partition of requests
    /// without an `Idempotency-Key`, so that a batch stays whole on its way back.
    pub batch_partition: Arc<AtomicU32>,
    /// This replica's instance number and replies partition; every item carries them, so that the reply comes back here.
    pub origin: HttpOrigin,
    /// The `[http]` settings, fixed at the start.
    pub http: HttpSettings,
    /// The certificates of both listeners; `None` without TLS.
    pub(crate) certificates: Option<Arc<ServerCertificates>>,
    /// Warns of listeners that other machines can reach.
    pub(crate) exposure: Exposure,
    /// Checks credentials and the rate of each caller. Its keys are reloaded while the process runs.
    pub authenticator: Authenticator,
    /// Which callers share cached answers.
    pub(crate) cache_scopes: CacheScopes,
    /// The model that answers requests that name none (`models.name`); callers are authorized against it.
    pub default_model: Arc<str>,
    /// What rows models take.
    pub(crate) model_rows: ModelRows,
    /// The state of the process: whether it is ready or draining.
    pub lifecycle: Lifecycle,
    /// Reject requests while a component is not ready. Off if all stages share this process, where readiness of one says
    /// nothing about the edges of another.
    pub only_when_ready: bool,
    /// Makes the spans of this stage.
    pub tracer: StageTracer,
    /// Logs and traces rejected requests, within a budget per second that the workers share.
    pub(crate) rejections: RejectionReporter,
    /// Counters of this stage, shared with its actors.
    pub metrics: StageMetrics,
    /// `inference_requests_total`, incremented here for requests that never reach the batcher.
    pub accepted: Counter,
    /// `inference_errors_total`, incremented here for the same requests.
    pub errors: Counter,
    /// Requests that are answered later; `None` if every request is answered on its connection.
    pub(crate) async_results: Option<AsyncResults>,
    /// Counts of requests over the Open Inference Protocol.
    pub(crate) statistics: ModelStatistics,
}

impl std::fmt::Debug for HttpState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpState").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl HttpState {
    /// Whether this replica accepts requests.
    ///
    /// # Errors
    /// `unavailable` while it drains or is not ready.
    pub(crate) fn check_available(&self) -> Result<(), Problem> {
        let unavailable = |why: &str| Err(Problem::new(ErrorCode::Unavailable, why));
        if self.lifecycle.is_draining() {
            return unavailable("this replica is shutting down");
        }
        if self.only_when_ready && !self.lifecycle.is_ready() {
            // which one, and why, is what `/health/ready` at the admin port says
            return unavailable("this replica is not ready");
        }
        Ok(())
    }

    /// Counts a rejected request, which the batcher never sees.
    pub(crate) fn count_rejection(&self, problem: &Problem) {
        self.metrics.failed(problem.code.as_str()).inc();
        self.accepted.inc();
        self.errors.inc();
    }
}

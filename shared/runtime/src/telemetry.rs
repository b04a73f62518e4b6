//! Traces: which requests are recorded, their spans, and the export of the spans.

mod budget;
mod context;
mod environment;
mod export;
mod sampler;
mod span;
mod stage;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracer;
use parking_lot::Mutex;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::{Layer, Registry};

pub use budget::Budget;
pub use context::TraceContext;
pub use environment::OtelEnvironment;
pub use span::{SpanRecord, StageSpan};
pub use stage::StageTracer;

use crate::process::Process;
use crate::settings::TelemetrySettings;
use export::{Exporter, SpanQueue};
use sampler::Sampler;

/// Spans cannot be exported with the variables of the environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {text}")]
pub struct TelemetryError {
    /// The `OTEL_` variable.
    pub variable: String,
    /// What is wrong with its value.
    pub text: String,
}

/// The tracing of the process. Clones share it. Without an endpoint it is off and does nothing.
#[derive(Debug, Clone)]
pub struct Telemetry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    process: Process,
    sampler: Sampler,
    exporter: Option<Exporter>,
    queues: Mutex<HashMap<String, Arc<SpanQueue>>>,
}

impl Telemetry {
    /// Tracing without an export: new traces are not sampled.
    pub fn disabled() -> Self {
        let process = Process::all_in_one("forebay");
        Self { inner: Arc::new(Inner { process, sampler: Sampler::never(), exporter: None, queues: Mutex::default() }) }
    }

    /// Starts the export that `environment` specifies. The exporters have a separate runtime, because inside an actix
    /// system the gRPC exporter would wait for itself at shutdown.
    ///
    /// # Errors
    /// When a variable cannot be used: an endpoint that is not an address, an unknown protocol, a certificate that
    /// cannot be read.
    pub fn start(
        process: Process,
        settings: &TelemetrySettings,
        environment: &OtelEnvironment,
    ) -> Result<Self, TelemetryError> {
        let Some(endpoint) = environment.traces_endpoint()? else {
            return Ok(Self::disabled());
        };
        let sampler = Sampler::of(environment, settings.sample_ratio)?;
        let exporter = Exporter::new(process, endpoint, environment)?;
        let inner = Inner { process, sampler, exporter: Some(exporter), queues: Mutex::default() };
        let telemetry = Self { inner: Arc::new(inner) };
        telemetry.queue(process.name)?; // a wrong endpoint must be an error at start, not missing traces later
        Ok(telemetry)
    }

    /// Whether spans are exported.
    pub fn is_enabled(&self) -> bool {
        self.inner.exporter.is_some()
    }

    /// The tracer of a stage, whose `service.name` is `forebay-<stage>` in every process.
    pub fn stage(&self, stage: &'static str) -> StageTracer {
        let queue = self.queue(stage).unwrap_or_else(|error| {
            tracing::error!(stage, %error, "spans of this stage are not exported");
            None
        });
        StageTracer::new(self.inner.sampler, queue)
    }

    fn queue(&self, stage: &str) -> Result<Option<Arc<SpanQueue>>, TelemetryError> {
        let Some(exporter) = &self.inner.exporter else { return Ok(None) };
        let mut queues = self.inner.queues.lock();
        if let Some(queue) = queues.get(stage) {
            return Ok(Some(queue.clone()));
        }
        let queue = Arc::new(exporter.queue(stage)?);
        queues.insert(stage.to_owned(), queue.clone());
        Ok(Some(queue))
    }

    /// Exports the queued spans, for at most `limit`, and ends the export. Safe inside an actix system: other threads
    /// do the waiting.
    pub async fn flush(&self, limit: Duration) {
        let queues: Vec<_> = self.inner.queues.lock().values().cloned().collect();
        if queues.is_empty() {
            return;
        }
        let (done, all_done) = tokio::sync::oneshot::channel();
        let work = move || {
            let threads: Vec<_> =
                queues.into_iter().map(|queue| std::thread::spawn(move || queue.shutdown(limit))).collect();
            for thread in threads {
                drop(thread.join());
            }
            done.send(()).ok(); // the receiver is gone after the time limit
        };
        if std::thread::Builder::new().name("otel-flush".into()).spawn(work).is_err() {
            return;
        }
        if tokio::time::timeout(limit, all_done).await.is_err() {
            tracing::warn!("the last spans could not be exported in time");
        }
    }

    /// The layer that exports `tracing` spans of the control plane and of HTTP handlers under the process's own name.
    /// It takes spans of Forebay's crates at level info and above; the stages use [`StageTracer`] on the hot path
    /// instead.
    pub(crate) fn span_layer(&self) -> Option<Box<dyn Layer<Registry> + Send + Sync>> {
        let queue = self.queue(self.inner.process.name).ok().flatten()?;
        let tracer: SdkTracer = queue.provider(self.inner.sampler).tracer("forebay");
        let layer = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false);
        let wanted = filter_fn(|metadata| {
            metadata.is_span() && *metadata.level() <= tracing::Level::INFO && metadata.target().starts_with("forebay")
        });
        Some(layer.with_filter(wanted).boxed())
    }
}

//! Traces: which requests are recorded, their spans, and how they leave the process.

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
pub use context::{TraceContext, now_us};
pub use environment::OtelEnvironment;
pub use span::{SpanRecord, StageSpan};
pub use stage::StageTracer;

use crate::host::Process;
use crate::settings::TelemetrySettings;
use export::{Exporter, Pipe};
use sampler::Sampler;

/// Spans cannot be exported as the environment asks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {text}")]
pub struct TelemetryError {
    /// The `OTEL_` variable.
    pub variable: String,
    /// What is wrong.
    pub text: String,
}

/// The traces of the process. Clones share them. Without an endpoint it is off, and everything in it costs nothing.
#[derive(Debug, Clone)]
pub struct Telemetry {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    process: Process,
    sampler: Sampler,
    exporter: Option<Exporter>,
    pipes: Mutex<HashMap<String, Arc<Pipe>>>,
}

impl Telemetry {
    /// No export; new traces are not sampled.
    pub fn disabled() -> Self {
        let process = Process::all_in_one("forebay");
        Self { inner: Arc::new(Inner { process, sampler: Sampler::never(), exporter: None, pipes: Mutex::default() }) }
    }

    /// Reads what `environment` asks for. The exporters live on a runtime of their own, because inside an actix system
    /// the one of gRPC waits for itself at shutdown.
    ///
    /// # Errors
    /// When a variable cannot be used: an endpoint that is no address, an unknown protocol, a certificate that cannot be read.
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
        let inner = Inner { process, sampler, exporter: Some(exporter), pipes: Mutex::default() };
        let telemetry = Self { inner: Arc::new(inner) };
        telemetry.pipe(process.name)?; // so that a wrong endpoint is an error at start, not a silence later
        Ok(telemetry)
    }

    /// True when spans leave the process.
    pub fn is_enabled(&self) -> bool {
        self.inner.exporter.is_some()
    }

    /// The tracer of a stage, whose `service.name` is `forebay-<stage>` whichever process asks for it.
    pub fn stage(&self, stage: &'static str) -> StageTracer {
        let pipe = self.pipe(stage).unwrap_or_else(|error| {
            tracing::error!(stage, %error, "spans of this stage are not exported");
            None
        });
        StageTracer::new(self.inner.sampler, pipe)
    }

    fn pipe(&self, stage: &str) -> Result<Option<Arc<Pipe>>, TelemetryError> {
        let Some(exporter) = &self.inner.exporter else { return Ok(None) };
        let mut pipes = self.inner.pipes.lock();
        if let Some(pipe) = pipes.get(stage) {
            return Ok(Some(pipe.clone()));
        }
        let pipe = Arc::new(exporter.pipe(stage)?);
        pipes.insert(stage.to_owned(), pipe.clone());
        Ok(Some(pipe))
    }

    /// Sends what is queued, for at most `limit`, and ends the export. Safe inside an actix system: the waiting is done
    /// on other threads.
    pub async fn flush(&self, limit: Duration) {
        let pipes: Vec<_> = self.inner.pipes.lock().values().cloned().collect();
        if pipes.is_empty() {
            return;
        }
        let (done, all_done) = tokio::sync::oneshot::channel();
        let work = move || {
            let threads: Vec<_> =
                pipes.into_iter().map(|pipe| std::thread::spawn(move || pipe.shutdown(limit))).collect();
            for thread in threads {
                drop(thread.join());
            }
            done.send(()).ok(); // the waiter may have given up
        };
        if std::thread::Builder::new().name("otel-flush".into()).spawn(work).is_err() {
            return;
        }
        if tokio::time::timeout(limit, all_done).await.is_err() {
            tracing::warn!("the last spans could not be sent in time");
        }
    }

    /// The layer that exports `tracing` spans of the control plane and of HTTP handlers under the process's own name.
    /// Only spans of Forebay's crates at info and above; the stages' hot path uses [`StageTracer`] instead.
    pub(crate) fn span_layer(&self) -> Option<Box<dyn Layer<Registry> + Send + Sync>> {
        let pipe = self.pipe(self.inner.process.name).ok().flatten()?;
        let tracer: SdkTracer = pipe.provider(self.inner.sampler).tracer("forebay");
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

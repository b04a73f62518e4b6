//! The export of finished spans: a queue and a thread for each stage, one runtime for all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_otlp::tonic_types::transport::{Certificate, ClientTlsConfig, Identity};
use opentelemetry_otlp::{Protocol as OtlpProtocol, SpanExporter, WithExportConfig as _, WithTonicConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::TelemetryResourceDetector;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanProcessor,
};
use tokio::runtime::Runtime;

use super::environment::{Certificates, Endpoint, OtelEnvironment, Protocol, wrong};
use super::sampler::Sampler;
use super::{TelemetryError, TraceContext};
use crate::hostname::hostname;
use crate::process::Process;

/// Spans in a queue. A micro-batch of 256 items ends several spans per item at once; with the SDK's default of 2048 a
/// second batch would lose spans.
const QUEUE_SIZE: usize = 16_384;
/// Time between two exports: short enough that a request's trace is visible by the time a person looks for it.
const DELAY: Duration = Duration::from_secs(1);

/// Makes the queues of the stages.
#[derive(Debug)]
pub(super) struct Exporter {
    /// Runs the gRPC channel. The caller's runtime could not: an actix system is single-threaded, and waiting in it for
    /// the last export would block the task that does it. Only `drop` takes it.
    runtime: Option<Runtime>,
    process: Process,
    endpoint: Endpoint,
    environment: OtelEnvironment,
    /// `service.instance.id`: new with every start, the same for all stages of the process.
    instance: String,
}

impl Exporter {
    pub(super) fn new(
        process: Process,
        endpoint: Endpoint,
        environment: &OtelEnvironment,
    ) -> Result<Self, TelemetryError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("otel")
            .enable_all()
            .build()
            .map_err(|error| wrong(endpoint.variable, &format!("cannot be used: no runtime: {error}")))?;
        let instance = TraceContext::root(false).trace_id_hex().to_string();
        Ok(Self { runtime: Some(runtime), process, endpoint, environment: environment.clone(), instance })
    }

    /// The queue of one stage.
    pub(super) fn queue(&self, stage: &str) -> Result<SpanQueue, TelemetryError> {
        let failed = |error: String| wrong(self.endpoint.variable, &error);
        let Endpoint { url, protocol, tls, .. } = self.endpoint.clone();
        let handle = self.runtime.as_ref().map(|runtime| runtime.handle().clone());
        // On a separate thread, because a blocking HTTP client must not be created inside a runtime.
        let build = move || match protocol {
            Protocol::Grpc => {
                let _entered = handle.as_ref().map(tokio::runtime::Handle::enter);
                let grpc = SpanExporter::builder().with_tonic().with_endpoint(url);
                match tls {
                    Some(tls) => grpc.with_tls_config(client_tls(tls)).build(),
                    None => grpc.build(),
                }
            }
            Protocol::Http => {
                let http = SpanExporter::builder().with_http().with_endpoint(url);
                http.with_protocol(OtlpProtocol::HttpBinary).build()
            }
        };
        let built = std::thread::spawn(build).join();
        let exporter = match built {
            Ok(exporter) => exporter.map_err(|error| failed(error.to_string()))?,
            Err(_) => return Err(failed("cannot be used".to_owned())),
        };
        let mut config = BatchConfigBuilder::default(); // reads OTEL_BSP_*
        if self.environment.get("OTEL_BSP_MAX_QUEUE_SIZE").is_none() {
            config = config.with_max_queue_size(QUEUE_SIZE);
        }
        if self.environment.get("OTEL_BSP_SCHEDULE_DELAY").is_none() {
            config = config.with_scheduled_delay(DELAY);
        }
        let resource = self.resource(stage);
        let mut processor = BatchSpanProcessor::new(exporter, config.build());
        processor.set_resource(&resource);
        let version = env!("CARGO_PKG_VERSION");
        let scope = InstrumentationScope::builder("forebay").with_version(version).build();
        Ok(SpanQueue { processor, resource, scope, closed: AtomicBool::new(false) })
    }

    /// `OTEL_SERVICE_NAME` names the one service of a binary. The all-in-one has five, so there it names their
    /// namespace and they keep their own names; so does a stage that another service writes spans for afterwards.
    fn resource(&self, stage: &str) -> Resource {
        let attributes = self.environment.resource_attributes();
        let listed = attributes.iter().find(|(name, _)| name == "service.name").map(|(_, value)| value.clone());
        let named = self.environment.get("OTEL_SERVICE_NAME").map(str::to_owned).or(listed);
        let mut own = format!("forebay-{stage}");
        if stage == self.process.name {
            own = if self.process.all_in_one { self.process.name.to_owned() } else { named.clone().unwrap_or(own) };
        }
        let namespace = named.filter(|_| self.process.all_in_one).map(|name| KeyValue::new("service.namespace", name));
        let host = hostname();
        Resource::builder_empty()
            .with_detector(Box::new(TelemetryResourceDetector))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", self.instance.clone()))
            .with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())))
            .with_attributes(host.map(|name| KeyValue::new("host.name", name)))
            .with_attributes(namespace)
            .with_attributes(attributes.into_iter().map(|(name, value)| KeyValue::new(name, value)))
            .with_service_name(own)
            .build()
    }
}

fn client_tls(Certificates { authorities, identity }: Certificates) -> ClientTlsConfig {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authorities));
    match identity {
        Some((certificate, key)) => tls.identity(Identity::from_pem(certificate, key)),
        None => tls,
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background(); // a plain drop panics inside another runtime
        }
    }
}

/// The queue of one stage and the thread that empties it.
#[derive(Debug)]
pub(super) struct SpanQueue {
    processor: BatchSpanProcessor,
    resource: Resource,
    scope: InstrumentationScope,
    closed: AtomicBool,
}

impl SpanQueue {
    pub(super) fn scope(&self) -> InstrumentationScope {
        self.scope.clone()
    }

    /// Queues a finished span. It never blocks, and drops the span if the queue is full.
    pub(super) fn send(&self, span: SpanData) {
        if !self.closed.load(Ordering::Relaxed) {
            self.processor.on_end(span);
        }
    }

    /// Exports the queued spans and ends the thread. Blocks.
    pub(super) fn shutdown(&self, limit: Duration) {
        if self.closed.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Err(error) = self.processor.shutdown_with_timeout(limit) {
            tracing::warn!(%error, "the last spans could not be exported");
        }
    }

    /// A provider for libraries that need one; it shares this queue.
    pub(super) fn provider(self: &Arc<Self>, sampler: Sampler) -> SdkTracerProvider {
        let builder = SdkTracerProvider::builder().with_span_processor(QueueProcessor(self.clone()));
        builder.with_sampler(sampler.for_sdk()).with_resource(self.resource.clone()).build()
    }
}

/// A processor that forwards spans to the queue. It does not shut the queue down; [`super::Telemetry::flush`] does.
#[derive(Debug)]
struct QueueProcessor(Arc<SpanQueue>);

impl SpanProcessor for QueueProcessor {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.send(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

//! The wiring: who sends to whom, and nothing else.

mod async_results;
mod ingress;
mod placement;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use actix::{Actor, Addr};
use actix_rt::{Arbiter, ArbiterHandle};
use forebay_bus::amqp::AmqpMessages;
use forebay_bus::kafka::{DeadLetters, RawBatch, RecordGroup};
use forebay_bus::{BusSettings, Delivery, Inlet, Mesh, ModelDirectory, Outlet};
use forebay_contract::edges::{REPLIES, REQUESTS, REQUESTS_IN, RESULTS};
use forebay_contract::{Outcome, Request, Stage};
use forebay_runtime::{Drain, Host, StageMetrics, StartError};

use crate::actors::{AddItems, BatcherActor, DeliverMessages, DeliverRecords, Ingester};
use crate::admission::Timeouts;
use crate::amqp::AmqpIngress;
use crate::auth::{Authenticator, CacheScopes};
use crate::batching::{Batcher, BatcherHandle};
use crate::exposure::Exposure;
pub use crate::grpc::GrpcListener;
pub use crate::http::HttpListener;
use crate::http::tls::ServerCertificates;
use crate::http::{AdmissionLimits, HttpState, ModelListing, RejectionReporter, serve};
use crate::kafka::KafkaIngress;
use crate::model_rows::ModelRows;
use crate::open_inference::ModelStatistics;
use crate::pending::PendingRequests;
use crate::record_reader::RecordReader;
use crate::schemas::Schemas;
use crate::settings::{GrpcSettings, InitialOffset, Settings};
use ingress::{amqp_ingress, kafka_ingress};
pub use placement::StagePlacement;

/// Accepts records of the request topic.
pub type KafkaHandler = Arc<dyn Fn(Delivery<RawBatch>) + Send + Sync>;

/// Accepts messages from RabbitMQ.
pub type AmqpHandler = Arc<dyn Fn(AmqpMessages) + Send + Sync>;

/// The edges that the stage sends to.
#[derive(Clone, Debug)]
pub struct Outlets {
    /// Requests, to preprocessing.
    pub requests: Outlet<Request>,
    /// Error outcomes, to publishing.
    pub results: Outlet<Outcome>,
    /// Records and messages that are not requests.
    pub dead_letters: DeadLetters,
}

/// The stage, before it accepts requests. Clones share its actors and state.
#[derive(Clone)]
pub struct IngestionStage {
    /// Accepts replies.
    pub replies: Inlet<Outcome>,
    /// Accepts records of the request topic.
    pub kafka: KafkaHandler,
    /// Accepts messages from RabbitMQ.
    pub amqp: AmqpHandler,
    /// HTTP requests that wait for replies.
    pub pending: PendingRequests,
    http: HttpState,
    models: ModelListing,
}

impl fmt::Debug for IngestionStage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IngestionStage")
    }
}

/// The stage on the given edges.
///
/// # Errors
/// If a file of credentials or certificates cannot be used; the error names the setting.
pub fn stage(
    settings: &Settings,
    bus: &BusSettings,
    host: &Host,
    arbiter: &ArbiterHandle,
    Outlets { requests, results, dead_letters }: Outlets,
    placement: StagePlacement,
    directory: &ModelDirectory,
) -> Result<IngestionStage, StartError> {
    directory.keep_loaded(&settings.models.name);
    let metrics = StageMetrics::register(host.metrics(), "ingestion");
    let tracer = host.telemetry().stage("ingestion");
    let (legacy, lifecycle) = (host.metrics().legacy(), host.lifecycle());

    let (batcher, batch_partition) = start_batcher(&placement, requests, host, metrics.clone(), arbiter);
    let model_rows = ModelRows::new(directory.clone(), &settings.models.name, settings.ingestion.max_row_values);
    let schemas = Schemas::default();
    let reading = (tracer.clone(), &model_rows, RecordReader::new(&settings.ingestion, schemas.clone()));
    let kafka = kafka_ingress(settings, &bus.kafka, host, placement.partitions, reading);
    let cache_scopes = CacheScopes::new(settings.auth.separate_cache);
    let partition = Arc::clone(&batch_partition);
    let with = (tracer.clone(), &model_rows, cache_scopes);
    let amqp = amqp_ingress(&bus.rabbitmq, host, placement.partitions, partition, with);
    let letters = dead_letters.clone();
    let to = (Arc::clone(&batcher), results, dead_letters);
    let (kafka, amqp) = start_ingester((kafka, amqp), to, host, metrics.clone(), arbiter);
    let kafka = crate::schemas::start(&settings.schemas, schemas, lifecycle, kafka)?;
    let pending = PendingRequests::new(placement.origin.instance);
    let http = HttpState {
        batcher,
        pending: pending.clone(),
        limits: AdmissionLimits::new(&settings.http, &settings.auth, host.metrics()),
        timeouts: Timeouts::from(&host.settings().delivery),
        partitions: placement.partitions,
        batch_partition,
        origin: placement.origin,
        certificates: ServerCertificates::of(&settings.http.tls)?,
        exposure: Exposure::new(host.metrics()),
        authenticator: Authenticator::open(&settings.auth, host.metrics())?,
        cache_scopes,
        default_model: settings.models.name.as_str().into(),
        model_rows,
        http: settings.http.clone(),
        lifecycle: lifecycle.clone(),
        only_when_ready: !host.process().all_in_one,
        rejections: RejectionReporter::new(tracer.clone()),
        tracer,
        metrics,
        accepted: legacy.requests.clone(),
        errors: legacy.errors.clone(),
        async_results: async_results::open(settings, host, arbiter, placement.alone, letters)?,
        statistics: ModelStatistics::default(),
    };
    let models = ModelListing::new(directory.clone(), settings.models.clone()).writable(settings.repository.writable);
    Ok(IngestionStage { replies: replies(pending.clone()), kafka, amqp, pending, http, models })
}

/// Starts the actor that makes batches; its handle, and the partition that its next batch goes to.
fn start_batcher(
    placement: &StagePlacement,
    requests: Outlet<Request>,
    host: &Host,
    metrics: StageMetrics,
    arbiter: &ArbiterHandle,
) -> (BatcherHandle, Arc<AtomicU32>) {
    let batcher = Batcher::new(placement.batch_interval, placement.partitions, rand::random());
    let batch_partition = batcher.batch_partition();
    let component = host.lifecycle().register("ingestion batcher");
    let shared = (placement.group.clone(), placement.pace.clone());
    let accepted = host.metrics().legacy().requests.clone();
    let start = move |_: &mut _| BatcherActor::new(batcher, shared, requests, metrics, accepted, component);
    (batcher_handle(BatcherActor::start_in_arbiter(arbiter, start)), batch_partition)
}

/// Starts the actor that reads records and messages; what passes them to it.
fn start_ingester(
    (kafka, amqp): (KafkaIngress, AmqpIngress),
    (batcher, results, dead_letters): (BatcherHandle, Outlet<Outcome>, DeadLetters),
    host: &Host,
    metrics: StageMetrics,
    arbiter: &ArbiterHandle,
) -> (KafkaHandler, AmqpHandler) {
    let accepted = host.metrics().legacy().requests.clone();
    let component = host.lifecycle().register("ingestion ingester");
    handlers(Ingester::start_in_arbiter(arbiter, move |_| Ingester {
        kafka,
        record_ages: Default::default(),
        amqp,
        batcher,
        results,
        dead_letters,
        metrics,
        accepted,
        heartbeat: component.heartbeat(),
        component,
    }))
}

fn replies(pending: PendingRequests) -> Inlet<Outcome> {
    Inlet::new(move |delivery| {
        pending.on_replies(delivery.payload);
        delivery.ack.ack();
    })
}

#[expect(clippy::disallowed_methods, reason = "permits bound the mailbox")]
fn handlers(ingester: Addr<Ingester>) -> (KafkaHandler, AmqpHandler) {
    let other = ingester.clone();
    let kafka = Arc::new(move |delivery| ingester.do_send(DeliverRecords(delivery)));
    (kafka, Arc::new(move |messages| other.do_send(DeliverMessages(messages))))
}

fn batcher_handle(batcher: Addr<BatcherActor>) -> BatcherHandle {
    #[expect(clippy::disallowed_methods, reason = "permits bound the mailbox")]
    Arc::new(move |items| batcher.do_send(AddItems(items)))
}

impl IngestionStage {
    /// Opens the gRPC listener on threads of its own; `None` if it is turned off or its address is taken.
    ///
    /// # Errors
    /// If the address cannot be bound or a certificate cannot be used; the error names the setting.
    pub fn serve_grpc(&self, settings: &GrpcSettings, host: &Host) -> Result<Option<GrpcListener>, StartError> {
        crate::grpc::serve(self.http.clone(), self.models.clone(), settings, host)
    }

    /// Opens the HTTP listener on the current actix system. The stage lives as long as the listener.
    ///
    /// # Errors
    /// If the address cannot be bound or a certificate cannot be used; the error names the setting.
    pub fn serve_http(&self, host: &Host) -> Result<HttpListener, StartError> {
        serve(self.http.clone(), self.models.clone(), host, Arc::new(self.clone()))
    }
}

/// The stage on the edges of its process, and its HTTP listener, which is closed with the mesh. The listener opens here: in
/// a process with several stages this one starts last.
///
/// # Errors
/// If an edge or the listener cannot be opened.
pub fn start(settings: &Settings, mesh: &mut Mesh, arbiter: &ArbiterHandle) -> Result<HttpListener, StartError> {
    let host = mesh.host().clone();
    let bus = mesh.settings().clone();
    let outlets = Outlets {
        requests: mesh.outlet(Stage::Ingestion, &REQUESTS)?,
        results: mesh.outlet(Stage::Ingestion, &RESULTS)?,
        dead_letters: mesh.dead_letters(Stage::Ingestion)?,
    };
    let interval = if mesh.is_in_memory(REQUESTS.spec()) { Duration::ZERO } else { settings.ingestion.batch_interval };
    let partitions = u32::try_from(bus.kafka.partitions).unwrap_or(1);
    let mut placement = match mesh.has_kafka() {
        true => StagePlacement::replica(partitions, interval),
        false => StagePlacement::memory(),
    };
    if settings.ingestion.kafka {
        placement.group = mesh.group_size(&REQUESTS_IN)?;
    }
    let (origin, pace) = (placement.origin, placement.pace.clone());
    let directory = if settings.repository.writable { mesh.writable_directory()? } else { mesh.directory()? };
    let stage = stage(settings, &bus, &host, arbiter, outlets, placement, &directory)?;
    mesh.serve_partition(&REPLIES, origin.reply_partition, stage.replies.clone())?;
    if settings.ingestion.kafka {
        let take = Arc::clone(&stage.kafka);
        let ingestion = &settings.ingestion;
        let from_latest = ingestion.initial_offset == InitialOffset::Latest;
        let (name, max_rows) = (bus.kafka.consumer_group.clone(), ingestion.max_record_rows);
        let group = RecordGroup { name, from_latest, pace, max_rows };
        mesh.serve_records(&REQUESTS_IN, group, move |delivery| take(delivery))?;
    }
    let take = Arc::clone(&stage.amqp);
    mesh.serve_messages(Stage::Ingestion, move |messages| take(messages));
    let mut http = stage.serve_http(&host)?;
    if let Some(grpc) = stage.serve_grpc(&settings.grpc, &host)? {
        http.grpc = Some(grpc.address);
        mesh.close_with(move |limit| grpc.close(limit));
    }
    let closed = http.clone();
    mesh.close_with(move |limit| closed.close(limit));
    Ok(http)
}

/// The stage as the only one of its process.
///
/// # Errors
/// As [`start`].
pub async fn run((bus, settings): (BusSettings, Settings), host: Host) -> Result<impl Drain, StartError> {
    let mut mesh = Mesh::of_stage(&host, bus, Stage::Ingestion);
    start(&settings, &mut mesh, &Arbiter::new().handle())?;
    mesh.run()
}

#[cfg(test)]
mod tests;

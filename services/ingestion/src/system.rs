//! The wiring: who talks to whom, and nothing else. `door`: the HTTP door, opened and closed.

mod door;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use actix::{Actor, Addr};
use actix_rt::{Arbiter, ArbiterHandle};
use forebay_bus::amqp::AmqpMessages;
use forebay_bus::kafka::{DeadLetters, RawBatch};
use forebay_bus::{Delivery, Inlet, Mesh, ModelDirectory, Outlet};
use forebay_contract::edges::{REPLIES, REQUESTS, REQUESTS_IN, RESULTS};
use forebay_contract::{HttpOrigin, Outcome, Request, Stage};
use forebay_runtime::{Drain, Host, StageMetrics, StageTracer, StartError};

use crate::actors::{Gatherer, Ingester, MessagesTaken, Offered, RecordsTaken};
use crate::admission::Timeouts;
use crate::auth::Gate;
use crate::doors::{Catalog, Intake, PredictDoor, Refusals, WaitingRoom};
use crate::gathering::{Gather, Gathering};
use crate::messages::MessageDoor;
use crate::records::RecordDoor;
use crate::settings::Settings;
use crate::waiters::Waiters;

pub use door::HttpDoor;

/// Takes records of the outside topic.
pub type KafkaDoor = Arc<dyn Fn(Delivery<RawBatch>) + Send + Sync>;

/// Takes messages of RabbitMQ.
pub type RabbitDoor = Arc<dyn Fn(AmqpMessages) + Send + Sync>;

/// Where the stage sends.
#[derive(Clone, Debug)]
pub struct Outlets {
    /// Requests on their way.
    pub requests: Outlet<Request>,
    /// Errors of the Kafka door.
    pub results: Outlet<Outcome>,
    /// Records that are no requests.
    pub dead_letters: DeadLetters,
}

/// Where the stage stands in the mesh.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Partitions of the inner topics; 1 on memory edges.
    pub partitions: u32,
    /// Gap between two batches; none on memory edges, where a record costs nothing.
    pub gather: Duration,
    /// This replica, and its partition of the replies topic.
    pub origin: HttpOrigin,
}

impl Place {
    /// In the same process as the stages after it.
    pub fn memory() -> Self {
        let origin = HttpOrigin { instance: rand::random(), reply_partition: 0 };
        Self { partitions: 1, gather: Duration::ZERO, origin }
    }

    /// A replica of its own: a new instance, whose replies come over a partition of `partitions`.
    pub fn replica(partitions: u32, gather: Duration) -> Self {
        let (instance, partitions) = (rand::random::<u64>(), partitions.max(1));
        let reply_partition = (instance % u64::from(partitions)) as u32;
        Self { partitions, gather, origin: HttpOrigin { instance, reply_partition } }
    }
}

/// The stage, before its doors open.
#[derive(Clone)]
pub struct Ingestion {
    /// Where replies come in.
    pub replies: Inlet<Outcome>,
    /// Where records of the outside topic come in.
    pub kafka_door: KafkaDoor,
    /// Where messages of RabbitMQ come in.
    pub amqp_door: RabbitDoor,
    /// Callers that wait for replies.
    pub waiters: Waiters,
    predict: PredictDoor,
    catalog: Catalog,
}

impl fmt::Debug for Ingestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ingestion")
    }
}

/// The stage on whatever edges it is given.
///
/// # Errors
/// When a file of credentials cannot be used: names the setting.
pub fn stage(
    settings: &Settings,
    host: &Host,
    arbiter: &ArbiterHandle,
    outlets: Outlets,
    place: Place,
    directory: &ModelDirectory,
) -> Result<Ingestion, StartError> {
    let Outlets { requests, results, dead_letters } = outlets;
    let metrics = StageMetrics::register(host.metrics(), "ingestion");
    let tracer = host.telemetry().stage("ingestion");
    let (legacy, lifecycle) = (host.metrics().legacy(), host.lifecycle());
    let timeouts = Timeouts::from(&host.settings().delivery);

    let gathering = Gathering::new(place.gather, place.partitions, rand::random());
    let batch_partition = gathering.batch_partition();
    let gatherer = {
        let (metrics, accepted) = (metrics.clone(), legacy.requests.clone());
        let component = lifecycle.register("ingestion gatherer");
        let start = move |_: &mut _| Gatherer::new(gathering, requests, metrics, accepted, component);
        Gatherer::start_in_arbiter(arbiter, start)
    };
    let gather = gather(gatherer);

    let ingester = {
        let door = record_door(settings, host, place.partitions, tracer.clone());
        let messages = message_door(host, place.partitions, Arc::clone(&batch_partition), tracer.clone());
        let (gather, metrics, accepted) = (Arc::clone(&gather), metrics.clone(), legacy.requests.clone());
        let component = lifecycle.register("ingestion ingester");
        let start =
            move |_: &mut _| Ingester { door, messages, gather, results, dead_letters, metrics, accepted, component };
        Ingester::start_in_arbiter(arbiter, start)
    };
    let (kafka_door, amqp_door) = record_doors(ingester);

    let waiters = Waiters::new(place.origin.instance);
    let predict = PredictDoor {
        gather,
        waiters: waiters.clone(),
        room: WaitingRoom::new(settings.http.in_flight, host.metrics()),
        timeouts,
        partitions: place.partitions,
        batch_partition,
        origin: place.origin,
        intake: Intake::new(&settings.http),
        gate: Gate::open(&settings.auth, host.metrics())?,
        default_model: host.settings().models.name.as_str().into(),
        http: settings.http.clone(),
        lifecycle: lifecycle.clone(),
        only_when_ready: !host.process().all_in_one,
        refusals: Refusals::new(tracer.clone()),
        tracer,
        metrics,
        accepted: legacy.requests.clone(),
        errors: legacy.errors.clone(),
    };
    let replies = replies(waiters.clone());
    let catalog = Catalog::new(directory.clone(), host.settings().models.clone());
    Ok(Ingestion { replies, kafka_door, amqp_door, waiters, predict, catalog })
}

fn replies(waiters: Waiters) -> Inlet<Outcome> {
    Inlet::new(move |delivery| {
        waiters.settle(delivery.payload);
        delivery.ack.ack();
    })
}

#[expect(clippy::disallowed_methods, reason = "permits bound the mailbox")]
fn record_doors(ingester: Addr<Ingester>) -> (KafkaDoor, RabbitDoor) {
    let other = ingester.clone();
    let kafka = Arc::new(move |delivery| ingester.do_send(RecordsTaken(delivery)));
    (kafka, Arc::new(move |messages| other.do_send(MessagesTaken(messages))))
}

fn message_door(host: &Host, partitions: u32, batch_partition: Arc<AtomicU32>, tracer: StageTracer) -> MessageDoor {
    let shared = host.settings();
    let queue = shared.rabbitmq.queue.as_str().into();
    MessageDoor { queue, partitions, batch_partition, timeouts: Timeouts::from(&shared.delivery), tracer }
}

fn gather(gatherer: Addr<Gatherer>) -> Gather {
    #[expect(clippy::disallowed_methods, reason = "permits bound the mailbox")]
    Arc::new(move |offer| gatherer.do_send(Offered(offer)))
}

fn record_door(settings: &Settings, host: &Host, partitions: u32, tracer: StageTracer) -> RecordDoor {
    let shared = host.settings();
    RecordDoor {
        topic: shared.topics.requests_in.as_str().into(),
        group: shared.kafka.consumer_group.as_str().into(),
        partitions,
        timeouts: Timeouts::from(&shared.delivery),
        label_is_identity: settings.ingestion.request_id_is_identity,
        tracer,
    }
}

/// The stage on the edges of its process, and its HTTP endpoint, which is closed with the mesh. It opens here: in a
/// process with several stages this one starts last.
///
/// # Errors
/// When an edge or an endpoint cannot open.
pub fn start(settings: &Settings, mesh: &mut Mesh, arbiter: &ArbiterHandle) -> Result<HttpDoor, StartError> {
    let host = mesh.host().clone();
    let shared = host.settings();
    let outlets = Outlets {
        requests: mesh.outlet(Stage::Ingestion, &REQUESTS)?,
        results: mesh.outlet(Stage::Ingestion, &RESULTS)?,
        dead_letters: mesh.dead_letters(Stage::Ingestion)?,
    };
    let gather = if mesh.is_in_memory(REQUESTS.spec()) { Duration::ZERO } else { settings.ingestion.gather };
    let partitions = u32::try_from(shared.kafka.partitions).unwrap_or(1);
    let place = if mesh.has_kafka() { Place::replica(partitions, gather) } else { Place::memory() };
    let stage = stage(settings, &host, arbiter, outlets, place, &mesh.directory()?)?;
    mesh.serve_partition(&REPLIES, place.origin.reply_partition, stage.replies.clone())?;
    if settings.ingestion.kafka_door {
        let take = Arc::clone(&stage.kafka_door);
        mesh.serve_records(&REQUESTS_IN, &shared.kafka.consumer_group, move |delivery| take(delivery))?;
    }
    let take = Arc::clone(&stage.amqp_door);
    mesh.serve_messages(Stage::Ingestion, move |messages| take(messages));
    let http = stage.serve_http(&host)?;
    let closed = http.clone();
    mesh.close_with(move |limit| closed.close(limit));
    Ok(http)
}

/// The stage as the only one of its process.
///
/// # Errors
/// As [`start`].
pub async fn run(settings: Settings, host: Host) -> Result<impl Drain, StartError> {
    let mut mesh = Mesh::of_stage(&host, Stage::Ingestion);
    start(&settings, &mut mesh, &Arbiter::new().handle())?;
    mesh.run()
}

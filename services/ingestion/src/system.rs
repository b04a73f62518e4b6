//! The wiring: who talks to whom, and nothing else. `door`: the HTTP door, opened and closed.

mod door;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use actix::{Actor, Addr};
use actix_rt::{Arbiter, ArbiterHandle};
use forebay_bus::amqp::{AmqpMessages, AmqpSource};
use forebay_bus::kafka::{DeadLetters, Edges, Follow, RawBatch, RawSource, Route};
use forebay_bus::{Delivery, Inlet, ModelDirectory, Outlet, Permits};
use forebay_contract::{HttpOrigin, Outcome, Request};
use forebay_runtime::{Drain, Host, StageMetrics, StageTracer, StartError};

use crate::actors::{Gatherer, Ingester, MessagesTaken, Offered, RecordsTaken};
use crate::admission::Timeouts;
use crate::auth::Gate;
use crate::doors::{Catalog, Intake, PredictDoor, Refusals, WaitingRoom};
use crate::gathering::{Gathering, Offer};
use crate::messages::MessageDoor;
use crate::records::RecordDoor;
use crate::settings::Settings;
use crate::waiters::Waiters;

pub use door::HttpDoor;

/// Takes items to the gatherer.
pub type Gather = Arc<dyn Fn(Offer) + Send + Sync>;
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

impl Ingestion {
    /// Takes requests from RabbitMQ where settings name one; `permits` bound what is in hand.
    ///
    /// # Errors
    /// When `rabbitmq.url` is no address.
    pub fn serve_amqp(&self, host: &Host, permits: Permits) -> Result<Option<AmqpSource>, StartError> {
        if !host.settings().rabbitmq.enabled() {
            return Ok(None);
        }
        let take = Arc::clone(&self.amqp_door);
        AmqpSource::start(host, permits, move |messages| take(messages)).map(Some)
    }
}

/// The stage over Kafka: the separate form.
///
/// # Errors
/// When an edge or a door cannot open.
pub async fn start(settings: Settings, host: Host) -> Result<impl Drain, StartError> {
    let mut edges = Edges::open(&host, "ingestion")?;
    let shared = host.settings();
    let topics = &shared.topics;
    let outlets = Outlets {
        requests: edges.outlet(&topics.requests, Route::BatchPartition),
        results: edges.outlet(&topics.results, Route::ResultPartition),
        dead_letters: edges.dead_letters(),
    };
    let partitions = u32::try_from(shared.kafka.partitions).unwrap_or(1);
    let place = Place::replica(partitions, settings.ingestion.gather);
    let arbiter = Arbiter::new();
    let directory = edges.directory(false)?;
    let stage = stage(&settings, &host, &arbiter.handle(), outlets, place, &directory)?;
    let mine = Follow::Partitions(vec![place.origin.reply_partition]);
    edges.follow(&topics.replies, mine, stage.replies.clone())?;
    if settings.ingestion.kafka_door {
        let source = RawSource {
            topic: topics.requests_in.clone(),
            group: shared.kafka.consumer_group.clone(),
            from_latest: true,
        };
        let take = Arc::clone(&stage.kafka_door);
        edges.consume_raw(&source, move |delivery| take(delivery))?;
    }
    let amqp = stage.serve_amqp(&host, edges.permits().clone())?;
    let http = stage.serve_http(&host)?;
    let limit = shared.delivery.drain.mul_f64(0.6);
    Ok(move || drain(edges, http, amqp, limit))
}

/// Intake stops; replies are read until nobody waits for one. A permit held meanwhile keeps the edges open.
async fn drain(edges: Edges, http: HttpDoor, amqp: Option<AmqpSource>, limit: Duration) {
    let hold = edges.permits().try_take(1);
    let callers = async move {
        tokio::join!(http.close(limit), finish(amqp, limit));
        drop(hold);
    };
    tokio::join!(callers, edges.drain());
}

/// Messages in hand are settled, no more are taken.
pub async fn finish(amqp: Option<AmqpSource>, limit: Duration) {
    if let Some(amqp) = amqp {
        amqp.drain(limit).await;
    }
}

//! The wiring of the stage: its edges and its actor.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use actix::{Actor, Addr, AsyncContext, WeakAddr};
use actix_rt::{Arbiter, ArbiterHandle};
use forebay_bus::kafka::TransactionSettings;
use forebay_bus::{BusSettings, Inlet, Mesh, Outlet, StageScope};
use forebay_contract::edges::{REPLIES, REQUESTS_IN, RESULTS, RESULTS_OUT};
use forebay_contract::{Outcome, Stage};
use forebay_runtime::{Drain, Host, StartError};
use parking_lot::Mutex;

use crate::actors::publisher::{Publish, Publisher, Redispatch};
use crate::amqp_results::{self, AmqpReplies};
use crate::dedupe::{Deduplicator, SharedDeduplicator};
use crate::delivery_tracker::DeliveryTracker;
use crate::dispatcher::Dispatcher;
use crate::format::Times;
use crate::idempotency::IdempotencyLimits;
use crate::kafka_results::ResultTopic;
use crate::lookup::{AnswerLookup, LookupSpec, ParkedResults};
use crate::metrics::{PublishingMetrics, transaction_counters};
use crate::pending::PendingResult;
use crate::rebuild::{Assigned, WindowRebuild};
use crate::replied::RepliedRequests;
use crate::result_log::{KafkaResultLog, ResultHistory};
use crate::result_schema::{ResultEncoding, register};
use crate::revocations::Revocations;
use crate::settings::{Settings, TimestampFormat};
use crate::slow_requests::SlowRequestReporter;

/// Where the stage sends.
#[derive(Clone, Debug)]
pub struct Outlets {
    /// The result topic, for clients; `None` without Kafka.
    pub result_topic: Option<ResultTopic>,
    /// What was sent to it before; `None` if that cannot be read.
    pub history: Option<ResultHistory>,
    /// Replies to RabbitMQ clients; `None` without RabbitMQ.
    pub amqp_replies: Option<AmqpReplies>,
    /// Replies to the ingestion replica that holds the HTTP connection.
    pub replies: Outlet<Outcome>,
}

/// The running stage.
#[derive(Clone, Debug)]
pub struct PublishingStage {
    /// Takes outcomes.
    pub inlet: Inlet<Outcome>,
    /// Fills the dedupe window after a take-over.
    pub rebuild: WindowRebuild,
    /// Results that wait to be looked up in the result topic.
    pub parked: ParkedResults,
    /// When partitions last left.
    pub revocations: Revocations,
}

/// Starts the stage on the given edges.
pub fn stage(
    settings: &Settings,
    bus: &BusSettings,
    host: &Host,
    arbiter: &ArbiterHandle,
    outlets: Outlets,
) -> PublishingStage {
    let delivery = &host.settings().delivery;
    let results = &settings.results;
    let window = delivery.dedupe_window;
    let answers = IdempotencyLimits { requests: results.idempotent_answers, bytes: results.idempotent_memory };
    let deduplicator = Deduplicator::new(window, results.window_capacity, answers, Instant::now());
    let deduplicator: SharedDeduplicator = Arc::new(Mutex::new(deduplicator));
    let log = outlets.history.as_ref().map(|history| Arc::clone(&history.log));
    let session = bus.kafka.session_timeout;
    let rebuild = WindowRebuild { deduplicator: Arc::clone(&deduplicator), log, window, session, replied: None };
    let scope = StageScope::new(host, Stage::Publishing, &host.settings().topics.results);
    let metrics = PublishingMetrics::register(host.metrics(), scope.metrics());
    let (results, reporter) = (results.clone(), SlowRequestReporter::new(host, &bus.rabbitmq.queue));
    let times = times(results.timestamp, bus);
    let component = host.lifecycle().register("publisher");
    let parked = ParkedResults::new();
    let (queue, lifecycle) = (parked.clone(), host.lifecycle().clone());
    let revocations = Revocations::default();
    let noted = revocations.clone();
    let history = outlets.history.clone().map(|history| (history, lifecycle.register("answer lookup")));
    let publisher = Publisher::start_in_arbiter(arbiter, move |ctx| {
        let address = ctx.address().downgrade();
        let lookup = history.and_then(|(ResultHistory { log, letters }, component)| {
            let (deduplicator, metrics) = (Arc::clone(&deduplicator), metrics.clone());
            let redispatch = redispatch(address.clone());
            let result_topic = outlets.result_topic.as_ref();
            let encoding = result_topic.map(ResultTopic::encoding).unwrap_or_default();
            let topic = result_topic.map(|topic| Arc::clone(topic.topic())).unwrap_or_default();
            let spec = LookupSpec { log, topic, encoding, letters, deduplicator, window, times, metrics, redispatch };
            let started = AnswerLookup::start(&queue, spec, component);
            started.map_err(|error| lifecycle.fail(format!("lookup thread: {error}"))).ok()
        });
        let redispatch = redispatch(address);
        let tracker = Arc::new(DeliveryTracker { deduplicator, metrics, reporter, redispatch });
        let Outlets { result_topic, amqp_replies, replies, .. } = outlets;
        let (settings, revocations) = (results, noted);
        let dispatcher =
            Dispatcher { settings, times, scope, result_topic, amqp_replies, replies, tracker, lookup, revocations };
        Publisher::new(dispatcher, component)
    });
    PublishingStage { inlet: inlet(publisher), rebuild, parked, revocations }
}

fn times(format: TimestampFormat, bus: &BusSettings) -> Times {
    match format {
        TimestampFormat::Auto if bus.event_hubs.enabled => Times::Iso8601,
        TimestampFormat::Auto | TimestampFormat::Milliseconds => Times::Milliseconds,
        TimestampFormat::Iso8601 => Times::Iso8601,
    }
}

#[expect(clippy::disallowed_methods, reason = "permits bound the mailbox")]
fn inlet(publisher: Addr<Publisher>) -> Inlet<Outcome> {
    Inlet::new(move |delivery| publisher.do_send(Publish(delivery)))
}

/// Sends results back to the publisher. The address is weak, because what the publisher sends must not keep it alive;
/// results that are dropped are nacked.
#[expect(clippy::disallowed_methods, reason = "these results hold permits already")]
fn redispatch(publisher: WeakAddr<Publisher>) -> Box<dyn Fn(Vec<PendingResult>) + Send + Sync> {
    Box::new(move |results| {
        if let Some(publisher) = publisher.upgrade() {
            publisher.do_send(Redispatch(results));
        }
    })
}

/// The stage on the edges of its process.
///
/// # Errors
/// When Kafka or RabbitMQ refuses its settings.
pub fn start(settings: &Settings, mesh: &mut Mesh, arbiter: &ArbiterHandle) -> Result<(), StartError> {
    let host = mesh.host().clone();
    let result_topic = result_topic(settings, mesh)?;
    let letters = mesh.dead_letters(Stage::Publishing)?;
    let (amqp_replies, amqp) = amqp_results::open(&host, &mesh.settings().rabbitmq, letters.clone())?.unzip();
    amqp.clone().into_iter().for_each(|sink| mesh.close_last(sink));
    let topic: Arc<str> = host.settings().topics.results_out.as_str().into();
    let history = mesh.client(Stage::Publishing)?.map(|client| {
        let (topic, transactions) = (Arc::clone(&topic), settings.results.transactions);
        ResultHistory { log: Arc::new(KafkaResultLog { client, topic, transactions }), letters }
    });
    let outlets = Outlets {
        result_topic: result_topic.clone(),
        history,
        amqp_replies,
        replies: mesh.outlet(Stage::Publishing, &REPLIES)?,
    };
    let PublishingStage { inlet, mut rebuild, parked, revocations } =
        stage(settings, mesh.settings(), &host, arbiter, outlets);
    if let Some(amqp) = amqp {
        let (rebuild, full) = (rebuild.clone(), AtomicBool::new(false));
        amqp.on_replied_elsewhere(move |items| {
            let left = rebuild.add_announced(items);
            if left > 0 && !full.swap(true, Ordering::Relaxed) {
                tracing::warn!("no room in the dedupe window for replies of other replicas, which may be repeated");
            } else if left == 0 {
                full.store(false, Ordering::Relaxed);
            }
        });
    }
    if let Some(result_topic) = result_topic {
        // in the fused form a partition of the source topic stands for a take-over: its requests may have been answered
        // before, on any partition outside
        let fused = mesh.is_in_memory(RESULTS.spec());
        let source = if fused { Stage::Ingestion } else { Stage::Publishing };
        let of = if fused { Assigned::SourcePartitions } else { Assigned::ResultPartitions };
        mesh.on_revoke(source, move || {
            revocations.note(of);
            parked.release();
        })?;
        if fused {
            mesh.on_first(&REQUESTS_IN, rebuild.hook(Assigned::SourcePartitions, |_| Vec::new()));
        } else {
            mesh.watch(source, RESULTS.spec())?;
            let results = host.settings().topics.results.clone();
            let client = mesh.client(Stage::Publishing)?.filter(|_| mesh.settings().rabbitmq.enabled());
            rebuild.replied = client.map(|client| RepliedRequests::new(client, &results));
            let on_topic = move |assigned: &[u32]| same_partitions(&result_topic, &results, assigned);
            mesh.on_first(RESULTS.spec(), rebuild.hook(Assigned::ResultPartitions, on_topic));
        }
    }
    mesh.serve(&RESULTS, inlet)
}

/// The partitions of the result topic with the outcomes of `assigned`: the same, or any of them if the numbers of
/// partitions differ, because one of them has changed.
fn same_partitions(topic: &ResultTopic, results: &str, assigned: &[u32]) -> Vec<u32> {
    let same = topic.partitions_of(results).is_some_and(|count| topic.partitions() == Some(count));
    if same { assigned.to_vec() } else { Vec::new() }
}

/// The stage as the only one of its process.
///
/// # Errors
/// As [`start`].
pub async fn run((bus, settings): (BusSettings, Settings), host: Host) -> Result<impl Drain, StartError> {
    let mut mesh = Mesh::of_stage(&host, bus, Stage::Publishing);
    start(&settings, &mut mesh, &Arbiter::new().handle())?;
    mesh.run()
}

/// The topic of clients, over the producer of the stage or in transactions. `None` without Kafka.
fn result_topic(settings: &Settings, mesh: &mut Mesh) -> Result<Option<ResultTopic>, StartError> {
    let topic = mesh.host().settings().topics.results_out.clone();
    let encoding = match mesh.has_kafka() {
        true => register(&settings.results, &settings.schemas, &topic)?,
        false => ResultEncoding::Json,
    };
    let shorten = move |value: &[u8], message: &str| encoding.too_large(value, message);
    // there from the start, so that the first event is an increase
    let [committed, aborted] = transaction_counters(mesh.host().metrics());
    if !settings.results.transactions {
        let sink = mesh.records(Stage::Publishing, &RESULTS_OUT)?;
        return Ok(sink.map(|sink| {
            let (counts, passes) = (sink.clone(), sink.clone());
            sink.shorten_too_large(shorten);
            let send = move |record, ack, spans| sink.send_with_spans(record, ack, spans);
            let topic = ResultTopic::new(&topic, move |topic| counts.partitions(topic), send).encoded(encoding);
            topic.passing(move || passes.pass())
        }));
    }
    if mesh.is_in_memory(RESULTS.spec()) {
        let why = "is true, and all five stages are in this process: there are no offsets of results to commit; run \
                   publishing apart, or set it to false";
        return Err(StartError::setting("results.transactions", why));
    }
    let interval = settings.results.transaction_interval;
    let transactions = TransactionSettings { interval, shorten: Box::new(shorten), committed, aborted };
    let sink = mesh.transactional_records(Stage::Publishing, &RESULTS_OUT, transactions)?;
    let counts = sink.clone();
    let send = move |record, acks, spans| sink.send(record, acks, spans);
    let topic = ResultTopic::transactional(&topic, move |topic| counts.partitions(topic), send);
    Ok(Some(topic.encoded(encoding)))
}

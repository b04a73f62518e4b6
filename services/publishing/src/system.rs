//! The wiring of the stage: its edges and its actor.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, AsyncContext, WeakAddr};
use actix_rt::{Arbiter, ArbiterHandle};
use forebay_bus::kafka::{Client, FirstRecord, RawRecord, RecordSink, TailError, read_since};
use forebay_bus::{BusSettings, Inlet, Mesh, Outlet, StageScope};
use forebay_contract::edges::{REPLIES, REQUESTS_IN, RESULTS, RESULTS_OUT};
use forebay_contract::{Outcome, Stage, now_us};
use forebay_runtime::{Drain, Host, StartError};
use parking_lot::Mutex;

use crate::actors::publisher::{Publish, Publisher, Redispatch};
use crate::amqp_results::{self, AmqpReplies};
use crate::dedupe::{Deduplicator, SharedDeduplicator};
use crate::delivery_tracker::DeliveryTracker;
use crate::dispatcher::Dispatcher;
use crate::format::{self, Times};
use crate::kafka_results::{REQUEST_ID_HEADER, ResultTopic};
use crate::metrics::PublishingMetrics;
use crate::pending::PendingResult;
use crate::rebuild::WindowRebuild;
use crate::settings::{ResultSettings, Settings, TimestampFormat};
use crate::slow_requests::SlowRequestReporter;

/// Where the stage sends.
#[derive(Clone, Debug)]
pub struct Outlets {
    /// The result topic, for clients; `None` without Kafka.
    pub result_topic: Option<ResultTopic>,
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
    warn_of_short_window(host, bus);
    let (window, answers) = (delivery.dedupe_window, results.idempotent_answers);
    let deduplicator = Deduplicator::new(window, results.window_capacity, answers, Instant::now());
    let deduplicator: SharedDeduplicator = Arc::new(Mutex::new(deduplicator));
    let rebuild = WindowRebuild(Arc::clone(&deduplicator));
    let scope = StageScope::new(host, Stage::Publishing, &host.settings().topics.results);
    let metrics = PublishingMetrics::register(host.metrics(), scope.metrics());
    let (results, reporter) = (results.clone(), SlowRequestReporter::new(host, &bus.rabbitmq.queue));
    let times = times(results.timestamp, bus);
    let component = host.lifecycle().register("publisher");
    let publisher = Publisher::start_in_arbiter(arbiter, move |ctx| {
        let redispatch = redispatch(ctx.address().downgrade());
        let tracker = Arc::new(DeliveryTracker { deduplicator, metrics, reporter, redispatch });
        Publisher::new(dispatcher(results, times, scope, outlets, tracker), component)
    });
    PublishingStage { inlet: inlet(publisher), rebuild }
}

fn times(format: TimestampFormat, bus: &BusSettings) -> Times {
    match format {
        TimestampFormat::Auto if bus.event_hubs.enabled => Times::Iso8601,
        TimestampFormat::Auto | TimestampFormat::Milliseconds => Times::Milliseconds,
        TimestampFormat::Iso8601 => Times::Iso8601,
    }
}

fn dispatcher(
    settings: ResultSettings,
    times: Times,
    scope: StageScope,
    outlets: Outlets,
    tracker: Arc<DeliveryTracker>,
) -> Dispatcher {
    let Outlets { result_topic, amqp_replies, replies } = outlets;
    Dispatcher { settings, times, scope, result_topic, amqp_replies, replies, tracker }
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

fn warn_of_short_window(host: &Host, bus: &BusSettings) {
    let delivery = &host.settings().delivery;
    let needed = delivery.timeout + bus.kafka.session_timeout;
    if delivery.dedupe_window < needed {
        let window = delivery.dedupe_window;
        tracing::warn!(?window, ?needed, "delivery.dedupe_window is shorter than a request may be in flight");
    }
}

/// The stage on the edges of its process.
///
/// # Errors
/// When Kafka or RabbitMQ refuses its settings.
pub fn start(settings: &Settings, mesh: &mut Mesh, arbiter: &ArbiterHandle) -> Result<(), StartError> {
    let host = mesh.host().clone();
    let outside = mesh.records(Stage::Publishing, &RESULTS_OUT)?;
    let letters = if mesh.has_kafka() { Some(mesh.dead_letters(Stage::Publishing)?) } else { None };
    let (amqp_replies, amqp) = amqp_results::open(&host, &mesh.settings().rabbitmq, letters)?.unzip();
    amqp.into_iter().for_each(|sink| mesh.close_last(sink));
    let outlets = Outlets {
        result_topic: outside.clone().map(|sink| results_out(&host, sink)),
        amqp_replies,
        replies: mesh.outlet(Stage::Publishing, &REPLIES)?,
    };
    let PublishingStage { inlet, rebuild } = stage(settings, mesh.settings(), &host, arbiter, outlets);
    if !mesh.is_in_memory(RESULTS.spec()) {
        if let Some((client, counts)) = mesh.client(Stage::Publishing)?.zip(outside) {
            let session = mesh.settings().kafka.session_timeout;
            mesh.on_first(RESULTS.spec(), take_over(client, counts, &host, session, rebuild));
        }
    } else if let Some(client) = mesh.client(Stage::Ingestion)? {
        // here a partition of the source topic stands for a take-over: its requests may have been answered before
        mesh.on_first(&REQUESTS_IN, take_over_of_source(client, &host, rebuild));
    }
    mesh.serve(&RESULTS, inlet)
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

/// The topic of clients over the producer of the stage.
fn results_out(host: &Host, sink: RecordSink) -> ResultTopic {
    let counts = sink.clone();
    sink.shorten_too_large(format::too_large);
    ResultTopic::new(
        &host.settings().topics.results_out,
        move |topic| counts.partitions(topic),
        move |record, ack, spans| sink.send_with_spans(record, ack, spans),
    )
}

/// Time that a take-over needs besides the session timeout of the member that left.
const TAKE_OVER: Duration = Duration::from_secs(5);
/// Longest time for reading the results of an earlier owner.
const READ: Duration = Duration::from_secs(10);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(200);

/// The hook before the first outcome of a newly assigned partition: the window learns what the earlier owner had
/// answered. The outcomes of that partition went to one partition of the clients' topic.
fn take_over(
    client: Client,
    counts: RecordSink,
    host: &Host,
    session: Duration,
    rebuild: WindowRebuild,
) -> impl FnMut(FirstRecord) + Send + use<> {
    let topic = host.settings().topics.results_out.clone();
    let slack = i64::try_from((session + TAKE_OVER).as_millis()).unwrap_or(i64::MAX);
    let mut read = Read::default();
    move |first| {
        let Some(since) = read.needed(&first, slack) else { return };
        let mut outside: Vec<u32> = match counts.partitions(&topic) {
            Some(count) => first.partitions.iter().map(|partition| partition % count.max(1)).collect(),
            None => Vec::new(),
        };
        outside.sort_unstable();
        outside.dedup();
        read_answered(&client, &topic, &outside, since, &rebuild);
    }
}

/// The last read. Partitions that were assigned together need only one.
#[derive(Debug, Default)]
struct Read(Option<(u64, i64)>);

impl Read {
    /// The time from which results have to be read for `first`; `None` if the read for a partition of the same
    /// assignment covers it.
    fn needed(&mut self, first: &FirstRecord, slack_ms: i64) -> Option<i64> {
        let now_ms = i64::try_from(now_us() / 1000).unwrap_or(i64::MAX);
        let time = if first.timestamp_ms > 0 { first.timestamp_ms } else { now_ms };
        let since = time.saturating_sub(slack_ms);
        if self.0.is_some_and(|(arrival, from)| arrival == first.arrival && from <= since) {
            return None;
        }
        self.0 = Some((first.arrival, since));
        Some(since)
    }
}

/// As [`take_over`] in the fused form, where a partition of the source topic arrives instead: its requests may have been
/// answered on any partition outside.
fn take_over_of_source(client: Client, host: &Host, rebuild: WindowRebuild) -> impl FnMut(FirstRecord) + Send + use<> {
    let topic = host.settings().topics.results_out.clone();
    let mut read = Read::default();
    move |first| {
        if let Some(since) = read.needed(&first, 0) {
            read_answered(&client, &topic, &[], since, &rebuild);
        }
    }
}

/// Reads which items were answered on `topic` since `since_ms`, in the partitions named or all. Blocks the thread for at
/// most about ten seconds; a broker that is busy with a change of leaders is called again.
fn read_answered(client: &Client, topic: &str, partitions: &[u32], since_ms: i64, rebuild: &WindowRebuild) {
    let deadline = Instant::now() + READ;
    let mut ours = 0usize;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let see = |record: &RawRecord| {
            ours += record.header(REQUEST_ID_HEADER).map_or(0, |value| usize::from(rebuild.header(value)));
        };
        match read_since(client, topic, partitions, since_ms, left, see) {
            Ok(read) => return tracing::info!(topic, ?partitions, read, ours, "window rebuilt"),
            Err(error) if left.is_zero() || matches!(error, TailError::Late { .. }) => {
                return tracing::warn!(topic, ?partitions, ours, %error, "window not rebuilt in full, answers may repeat");
            }
            Err(error) => tracing::debug!(topic, ?partitions, %error, "trying again to rebuild the window"),
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_that_arrive_together_are_read_for_once() {
        let first = |timestamp_ms, arrival| FirstRecord { timestamp_ms, arrival, partitions: vec![0, 1] };
        let mut read = Read::default();
        assert_eq!(read.needed(&first(5_000, 1), 100), Some(4_900));
        assert_eq!(read.needed(&first(5_200, 1), 100), None);
        assert_eq!(read.needed(&first(4_000, 1), 100), Some(3_900), "an older backlog needs an earlier start");
        assert_eq!(read.needed(&first(6_000, 2), 100), Some(5_900), "a later arrival may follow another owner");
        assert!(read.needed(&first(-1, 3), 100).is_some());
    }
}

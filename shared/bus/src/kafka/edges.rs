//! The Kafka edges of one stage: one producer, any number of sources, drained in the order that loses nothing.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use forebay_contract::Outcome;
use forebay_runtime::{Drain, Fence, Host, StageMetrics, StartError};
use parking_lot::Mutex;
use prost::Message as Payload;

use super::assigned_consumer::AssignedConsumer;
use super::client::Client;
use super::dead_letters::{DeadLetter, DeadLetters};
use super::directory::DirectoryEdge;
use super::outlet::{KafkaOutlet, Route, answer_undeliverable};
use super::producer::{RecordSink, Undeliverable};
use super::record::{RawBatch, RawRecord};
use super::source::{FirstRecord, OnFirst, RecordIntake, Source, SourceSpec, TypedIntake};
use super::topic_monitor::TopicMonitor;
use crate::host_events::{CountOnly, HostEvents};
use crate::{Delivery, EdgeEvents, Inlet, Outlet, Permits};

/// An outside topic to consume.
#[derive(Clone, Debug)]
pub struct RawSource {
    /// The topic.
    pub topic: String,
    /// The consumer group.
    pub group: String,
    /// Where a group without committed offsets begins: at the end, or at the beginning.
    pub from_latest: bool,
}

/// Partitions to follow.
#[derive(Clone, Debug)]
pub enum Follow {
    /// Always these; waits rather than drops when its permits are used up.
    Partitions(Vec<u32>),
    /// Those this replica is assigned on the source with which the [`Assigned`] was opened. Advisory: dropped and
    /// counted when its permits are used up.
    Assigned(Assigned),
}

/// The partitions a source has in hand, for those who follow it.
#[derive(Clone, Default)]
pub struct Assigned {
    assigned_consumers: Arc<Mutex<Vec<AssignedConsumer>>>,
    leaving: Arc<Mutex<Vec<Leaving>>>,
}

type Leaving = Box<dyn Fn() + Send>;

impl Assigned {
    /// `told` is called when partitions are about to leave, before their work in hand gets its last moment.
    pub fn on_leaving(&self, told: impl Fn() + Send + 'static) {
        self.leaving.lock().push(Box::new(told));
    }
}

impl std::fmt::Debug for Assigned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Assigned")
    }
}

/// The Kafka edges of one stage. Draining stops intake, waits until every permit is back, flushes, commits and leaves.
pub struct Edges {
    pub(super) host: Host,
    stage: &'static str,
    pub(super) client: Client,
    pub(super) sink: RecordSink,
    pub(super) metrics: StageMetrics,
    permits: Permits,
    sources: Vec<Source>,
    assigned_consumers: Vec<(AssignedConsumer, JoinHandle<()>)>,
    pub(super) directories: Vec<DirectoryEdge>,
    on_first: Option<OnFirst>,
    watched: Arc<Mutex<Vec<Arc<str>>>>,
    _fence: Fence,
}

impl std::fmt::Debug for Edges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Edges").field("stage", &self.stage).finish_non_exhaustive()
    }
}

impl Edges {
    /// Opens the stage's producer. The broker need not be there yet.
    ///
    /// # Errors
    /// When the client refuses the settings.
    pub fn open(host: &Host, stage: &'static str) -> Result<Self, StartError> {
        let shared = host.settings();
        let client = Client::new(&shared.kafka, stage);
        let metrics = StageMetrics::register(host.metrics(), stage);
        let events: Arc<dyn EdgeEvents> =
            Arc::new(HostEvents::register(host, &metrics, format!("kafka producer of {stage}")));
        let counters = metrics.clone();
        let sink = RecordSink::open(&client, Arc::clone(&events), move |topic| counters.sent(topic))
            .map_err(|error| StartError::setting("kafka", error.to_string()))?;
        let watched = Arc::new(Mutex::new(Vec::new()));
        let topic_monitor = TopicMonitor::new(host, client.clone(), sink.clone(), Arc::clone(&watched));
        let edges = Self {
            host: host.clone(),
            stage,
            client,
            sink,
            metrics,
            permits: Permits::new(shared.delivery.in_flight),
            sources: Vec::new(),
            assigned_consumers: Vec::new(),
            directories: Vec::new(),
            on_first: None,
            watched,
            _fence: Fence::arm(shared.kafka.session_timeout),
        };
        topic_monitor.start(events)?;
        edges.sink.on_undeliverable(edges.bury());
        Ok(edges)
    }

    /// The permits that bound this stage's unfinished work.
    pub fn permits(&self) -> &Permits {
        &self.permits
    }

    /// Client configurations, for reading beside the edges.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Raw records to outside topics. Name the topics with [`Edges::watch`] for their partition counts.
    pub fn records(&self) -> RecordSink {
        self.sink.clone()
    }

    /// Keeps the partition count of `topic` known.
    pub fn watch(&self, topic: &str) {
        let mut watched = self.watched.lock();
        if !watched.iter().any(|known| **known == *topic) {
            watched.push(topic.into());
        }
    }

    /// Partitions of `topic`; `None` while the broker has not answered yet.
    pub fn partitions(&self, topic: &str) -> Option<u32> {
        self.watch(topic);
        self.sink.partitions(topic)
    }

    /// Where this stage's dead letters go.
    pub fn dead_letters(&self) -> DeadLetters {
        let topic = &self.host.settings().topics.dead_letters;
        self.watch(topic);
        let events = Arc::new(CountOnly(self.metrics.clone()));
        DeadLetters::to_topic(self.stage, &format!("forebay-{}", self.stage), self.sink.clone(), topic, events)
    }

    /// An edge to an inner topic. What cannot be sent on before its deadline is answered with an error over the results
    /// topic; what cannot be sent there either is read again from the source.
    pub fn outlet<P: Payload + Default + 'static>(&self, topic: &str, route: Route) -> Outlet<P> {
        let results = self.host.settings().topics.results.clone();
        let undeliverable = (route == Route::BatchPartition && topic != results).then(|| {
            answer_undeliverable::<P>(
                topic,
                self.kafka_outlet(&results, Route::ResultPartition, None).into_outlet::<Outcome>(),
            )
        });
        self.kafka_outlet(topic, route, undeliverable).into_outlet()
    }

    fn kafka_outlet(&self, topic: &str, route: Route, undeliverable: Option<Undeliverable>) -> KafkaOutlet {
        self.watch(topic);
        KafkaOutlet {
            sink: self.sink.clone(),
            topic: topic.into(),
            route,
            tracer: self.host.telemetry().stage(self.stage),
            span_name: format!("send {topic}").into(),
            counter: self.metrics.sent(topic),
            undeliverable,
        }
    }

    /// The hook of the next source: called once per partition and assignment before its first record is taken.
    pub fn on_first(&mut self, hook: impl FnMut(FirstRecord) + Send + 'static) {
        self.on_first = Some(Box::new(hook));
    }

    /// Consumes an inner topic in `group`, from the earliest record the group has not committed.
    ///
    /// # Errors
    /// When the client refuses the settings.
    pub fn consume<P: Payload + Default + 'static>(
        &mut self,
        topic: &str,
        group: &str,
        inlet: Inlet<P>,
    ) -> Result<(), StartError> {
        self.consume_with(topic, group, inlet, &Assigned::default())
    }

    /// As [`Edges::consume`]; whoever follows `assigned` reads the same partitions of another topic, from before the
    /// first record of a new partition is taken.
    ///
    /// # Errors
    /// When the client refuses the settings.
    pub fn consume_with<P: Payload + Default + 'static>(
        &mut self,
        topic: &str,
        group: &str,
        inlet: Inlet<P>,
        assigned: &Assigned,
    ) -> Result<(), StartError> {
        let intake = TypedIntake { topic: topic.into(), inlet, dead_letters: self.dead_letters() };
        let spec = self.spec(topic, group, false, Some(assigned.clone()));
        let source = Source::start(spec, intake).map_err(|error| refused(&error))?;
        self.sources.push(source);
        Ok(())
    }

    /// Consumes an outside topic; `take` gets the records at hand, up to 256, under one ack.
    ///
    /// # Errors
    /// When the client refuses the settings.
    pub fn consume_raw(
        &mut self,
        source: &RawSource,
        take: impl Fn(Delivery<RawBatch>) + Send + 'static,
    ) -> Result<(), StartError> {
        let spec = self.spec(&source.topic, &source.group, source.from_latest, None);
        let intake = RecordIntake { take, arena: bytes::BytesMut::new() };
        let source = Source::start(spec, intake).map_err(|error| refused(&error))?;
        self.sources.push(source);
        Ok(())
    }

    /// Reads partitions of `topic` from their end, without a group.
    ///
    /// # Errors
    /// When the client refuses the settings.
    pub fn follow<P: Payload + Default + 'static>(
        &mut self,
        topic: &str,
        follow: Follow,
        inlet: Inlet<P>,
    ) -> Result<(), StartError> {
        let events: Arc<dyn EdgeEvents> =
            Arc::new(HostEvents::register(&self.host, &self.metrics, format!("kafka reader of {topic}")));
        let config = self.client.reader_of_partitions();
        let permits = Permits::new(self.host.settings().delivery.in_flight);
        let advisory = matches!(follow, Follow::Assigned(_));
        let letters = self.dead_letters();
        let (assigned_consumer, thread) =
            AssignedConsumer::start(&config, topic, inlet, permits, advisory, Arc::clone(&events), letters)
                .map_err(|error| refused(&error))?;
        match follow {
            Follow::Assigned(assigned) => {
                events.ready();
                assigned.assigned_consumers.lock().push(assigned_consumer.clone());
            }
            Follow::Partitions(partitions) => {
                let partitions = partitions.iter().map(|p| p.cast_signed()).collect();
                begin_when_reachable(assigned_consumer.clone(), topic.to_owned(), partitions, events)?;
            }
        }
        self.assigned_consumers.push((assigned_consumer, thread));
        Ok(())
    }

    fn spec(&mut self, topic: &str, group: &str, from_latest: bool, assigned: Option<Assigned>) -> SourceSpec {
        let events: Arc<dyn EdgeEvents> =
            Arc::new(HostEvents::register(&self.host, &self.metrics, format!("kafka source {topic}")));
        let config = self.client.consumer(group, if from_latest { "latest" } else { "earliest" });
        let leaving = assigned.clone();
        let on_leaving = leaving.map(|assigned| -> super::source::OnLeaving {
            Box::new(move || assigned.leaving.lock().iter().for_each(|told| told()))
        });
        let on_assigned = assigned.map(|assigned| -> super::source::OnAssigned {
            Box::new(move |partitions| {
                for assigned_consumer in assigned.assigned_consumers.lock().iter() {
                    if let Err(error) = assigned_consumer.assign(partitions) {
                        // advisory: waiters of these partitions go on as misses
                        tracing::warn!(%error, "advisory topic cannot be followed");
                    }
                }
            })
        });
        let (permits, on_first) = (self.permits.clone(), self.on_first.take());
        SourceSpec { config, topic: topic.into(), from_latest, permits, events, on_assigned, on_leaving, on_first }
    }

    /// Records of outside topics that the broker will never take go to the dead letters.
    fn bury(&self) -> Undeliverable {
        let letters = self.dead_letters();
        let topic: Arc<str> = self.host.settings().topics.results_out.as_str().into();
        Arc::new(move |payload, error, _, ack| {
            let record = RawRecord {
                payload: payload.into(),
                key: None,
                partition: 0,
                offset: 0,
                timestamp_ms: -1,
                headers: Vec::new(),
            };
            let message = format!("the broker does not take this record: {error}");
            letters.send(DeadLetter { code: "payload_too_large", message, topic: Arc::clone(&topic), record }, ack);
        })
    }
}

fn begin_when_reachable(
    assigned_consumer: AssignedConsumer,
    topic: String,
    partitions: Vec<i32>,
    events: Arc<dyn EdgeEvents>,
) -> Result<(), StartError> {
    spawn("kafka-follow", move || {
        while let Err(error) = assigned_consumer.assign(&partitions) {
            events.unready(&format!("topic {topic}: {}", assigned_consumer.behind(&error)));
            std::thread::sleep(Duration::from_millis(500));
            if assigned_consumer.is_closing() {
                return;
            }
        }
    })
}

pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), StartError> {
    std::thread::Builder::new().name(name.into()).spawn(run).map_err(|error| StartError::Failed(error.to_string()))?;
    Ok(())
}

pub(super) fn refused(error: &rdkafka::error::KafkaError) -> StartError {
    StartError::setting("kafka", error.to_string())
}

impl Drain for Edges {
    async fn drain(mut self) {
        let limit = self.host.settings().delivery.drain;
        let stage = self.stage;
        let work = move || {
            // nobody should wait for a version on a replica that goes
            self.directories.iter_mut().for_each(DirectoryEdge::leave);
            self.sources.iter().for_each(Source::stop_intake);
            // return edges stay open until the work they answer is done
            if !self.permits.wait_idle(limit.mul_f64(0.7)) {
                tracing::warn!(stage, items = self.permits.in_use(), "unfinished work is left for another replica");
            }
            if !self.sink.flush(limit.mul_f64(0.15)) {
                tracing::warn!(stage, "not every record got its delivery report");
            }
            self.directories.into_iter().for_each(DirectoryEdge::close);
            self.assigned_consumers.iter().for_each(|(assigned_consumer, _)| assigned_consumer.close());
            self.sources.into_iter().for_each(Source::close);
        };
        if tokio::task::spawn_blocking(work).await.is_err() {
            tracing::error!(stage, "draining failed");
        }
    }
}

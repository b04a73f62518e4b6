//! The Kafka edges of one stage: one producer, any number of sources, drained in the order that loses nothing.

mod directory;
mod drain;
mod lanes;
mod sources;
mod transactions;

use std::sync::Arc;
use std::thread::JoinHandle;

use forebay_contract::edges::{DEAD_LETTERS, Edge, EdgeSpec, Partitioning, RESULTS};
use forebay_contract::{Lane, Stage};
use forebay_runtime::{Fence, Heartbeat, Host, StageMetrics, StartError};
use parking_lot::Mutex;
use prost::Message as Payload;

use super::assigned_consumer::{AssignedConsumer, Reading};
use super::assignment::Assignment;
use super::client::{Client, consumer_group, refused};
use super::dead_letters::DeadLetters;
use super::directory::DirectoryEdge;
use super::foreign_topics::ForeignTopics;
use super::group_size::GroupSize;
use super::outlet::{Fallback, KafkaOutlet};
use super::producer::RecordSink;
use super::record::RawBatch;
use super::source::{OnFirst, RawSource, RecordGroup, RecordIntake, Source, SourceSpec, TypedIntake};
use super::topic_monitor::TopicMonitor;
use super::topics::topic_name;
use super::transactions::TransactionalSink;
use crate::host_events::{CountOnly, HostEvents};
use crate::permits::StagePermits;
use crate::{BusSettings, Delivery, EdgeEvents, Inlet, Permits, stage_name};

/// The Kafka edges of one stage. Draining stops intake, waits until every permit is back, flushes, commits and leaves.
pub struct Edges {
    host: Host,
    stage: &'static str,
    client: Client,
    sink: RecordSink,
    /// What takes the results of this stage's work to clients, where that is the producer of another stage.
    answers: Option<RecordSink>,
    /// Where the results of the stage are written in transactions.
    transactions: Option<TransactionalSink>,
    metrics: StageMetrics,
    permits: StagePermits,
    /// Bytes of what each reader without a group has in flight.
    bytes_read_alone: u64,
    assignment: Assignment,
    sources: Vec<Source>,
    assigned_consumers: Vec<(AssignedConsumer, JoinHandle<()>)>,
    directories: Vec<DirectoryEdge>,
    on_first: Option<OnFirst>,
    watched: Arc<Mutex<Vec<Arc<str>>>>,
    foreign: ForeignTopics,
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
    pub fn open(host: &Host, settings: &BusSettings, stage: &'static str) -> Result<Self, StartError> {
        let client = Client::new(&settings.kafka, stage);
        let metrics = StageMetrics::register(host.metrics(), stage);
        // there from the start, so that the first event is an increase
        ["consumer", "producer"].iter().for_each(|client| drop(host.metrics().kafka().replaced(stage, client)));
        let registered = HostEvents::register(host, &metrics, format!("kafka producer of {stage}"));
        let heartbeats = [(); 3].map(|()| registered.heartbeat());
        let events: Arc<dyn EdgeEvents> = Arc::new(registered);
        let counters = metrics.clone();
        let [reports, retries, topics] = heartbeats;
        let writes_for_clients = stage == stage_name(Stage::Publishing);
        let config = if writes_for_clients { client.producer_for_clients() } else { client.producer() };
        let sink = RecordSink::open(client.clone(), config, Arc::clone(&events), [reports, retries], move |topic| {
            counters.sent(topic)
        })
        .map_err(|error| refused(&error))?;
        let watched = Arc::new(Mutex::new(Vec::new()));
        let foreign = ForeignTopics::default();
        let topic_monitor =
            TopicMonitor::new(host, settings, client.clone(), sink.clone(), Arc::clone(&watched), foreign.clone());
        let edges = Self {
            host: host.clone(),
            stage,
            client,
            sink,
            answers: None,
            transactions: None,
            metrics,
            permits: lanes::permits(
                stage,
                settings.kafka.lanes,
                host.settings().delivery.in_flight,
                settings.bytes_in_flight(host),
            ),
            bytes_read_alone: settings.bytes_read_alone(host),
            assignment: Assignment::default(),
            sources: Vec::new(),
            assigned_consumers: Vec::new(),
            directories: Vec::new(),
            on_first: None,
            watched,
            foreign,
            _fence: Fence::arm(settings.kafka.session_timeout),
        };
        topic_monitor.start(events, topics)?;
        edges.sink.on_undelivered(edges.dead_letters().keeping());
        Ok(edges)
    }

    fn name(&self, edge: &EdgeSpec) -> &str {
        topic_name(&self.host.settings().topics, edge)
    }

    /// The permits that bound this stage's unfinished work, where there are lanes that of the normal one.
    pub fn permits(&self) -> &Permits {
        self.permits.of(Lane::Normal)
    }

    /// Client configurations, for reading beside the edges.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Raw records to topics of clients. Name the topics with [`Edges::watch`] for their partition counts.
    pub fn records(&self) -> RecordSink {
        self.sink.writes_for_clients();
        self.sink.clone()
    }

    /// The work of the sources that start from now on is answered through `answers`, the records of another stage of this
    /// process: partitions leave when what was sent there is settled.
    pub(crate) fn answered_through(&mut self, answers: RecordSink) {
        self.answers = Some(answers);
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

    /// How many members share `topic`, which this stage consumes.
    pub fn group_size(&self, topic: &str) -> GroupSize {
        self.watch(topic);
        GroupSize::new(self.assignment.clone(), self.sink.clone(), topic)
    }

    /// Where this stage's dead letters go.
    pub fn dead_letters(&self) -> DeadLetters {
        let topic = self.name(&DEAD_LETTERS);
        self.watch(topic);
        let events = Arc::new(CountOnly(self.metrics.clone()));
        let (group, window) = (consumer_group(self.stage), self.host.settings().delivery.dedupe_window);
        DeadLetters::to_topic(self.stage, &group, self.sink.clone(), topic, window, events)
    }

    fn kafka_outlet(&self, edge: &EdgeSpec, topic: &str, fallback: Fallback) -> KafkaOutlet {
        self.watch(topic);
        KafkaOutlet {
            sink: self.sink.clone(),
            topic: topic.into(),
            partitioning: edge.partitioning,
            tracer: self.host.telemetry().stage(self.stage),
            span_name: format!("send {topic}").into(),
            counter: self.metrics.sent(topic),
            fallback,
            dead_letters: self.dead_letters(),
        }
    }

    /// The hook of the next source: called once per partition and assignment before its first record is taken.
    pub fn on_first(&mut self, hook: OnFirst) {
        self.on_first = Some(hook);
    }

    /// Calls `hook` whenever partitions of this stage's source are about to leave, before the work in flight on them is
    /// waited for.
    pub fn on_revoke(&self, hook: impl Fn() + Send + 'static) {
        self.assignment.on_revoke(hook);
    }

    /// Consumes an edge in the group of this stage, from the earliest record the group has not committed.
    ///
    /// # Errors
    /// When the client refuses the settings.
    pub fn consume<P: Payload + Default + 'static>(
        &mut self,
        edge: &Edge<P>,
        inlet: Inlet<P>,
    ) -> Result<(), StartError> {
        let topics = self.topics(self.name(edge.spec()), edge.spec().has_lanes());
        let config = self.client.consumer(&consumer_group(self.stage), topics.base());
        let results = (edge.spec().partitioning == Partitioning::Batch).then(|| self.outlet(&RESULTS));
        let intake = TypedIntake { topics: topics.clone(), inlet, dead_letters: self.dead_letters(), results };
        let spec = self.source(topics, config, false);
        self.sources.push(Source::start(spec, intake).map_err(|error| refused(&error))?);
        Ok(())
    }

    /// Consumes a topic of clients; `take` gets the records that are available, up to 256, under one ack.
    ///
    /// # Errors
    /// When the client refuses the settings.
    pub fn consume_raw(
        &mut self,
        source: &RawSource,
        take: impl Fn(Delivery<RawBatch>) + Send + 'static,
    ) -> Result<(), StartError> {
        let topics = self.topics(&source.topic, source.lanes);
        topics.names().iter().for_each(|topic| self.foreign.add(topic));
        let config = self.client.consumer_of_clients(&source.group.name, topics.base());
        let (arena, dead_letters) = (bytes::BytesMut::new(), self.dead_letters());
        let RecordGroup { pace, max_rows, from_latest, .. } = source.group.clone();
        let intake = RecordIntake { topics: topics.clone(), take, arena, dead_letters, max_rows };
        let spec = SourceSpec { pace, of_clients: true, ..self.source(topics, config, from_latest) };
        self.sources.push(Source::start(spec, intake).map_err(|error| refused(&error))?);
        Ok(())
    }

    /// Reads an edge without a group, from the end of the partitions that this stage is assigned on the topic it
    /// consumes, and from before their first record is taken. Advisory: dropped and counted without permits.
    ///
    /// # Errors
    /// When the client refuses the settings.
    pub fn consume_assigned<P: Payload + Default + 'static>(
        &mut self,
        edge: &Edge<P>,
        inlet: Inlet<P>,
    ) -> Result<(), StartError> {
        let (assigned_consumer, _) = self.read(edge.spec(), inlet, true)?;
        assigned_consumer.ready();
        self.assignment.add_consumer(assigned_consumer);
        Ok(())
    }

    /// Reads one partition of an edge without a group, from its end. Waits while its permits are used up.
    ///
    /// # Errors
    /// When the client refuses the settings.
    pub fn read_partition<P: Payload + Default + 'static>(
        &mut self,
        edge: &Edge<P>,
        partition: u32,
        inlet: Inlet<P>,
    ) -> Result<(), StartError> {
        let (assigned_consumer, assigning) = self.read(edge.spec(), inlet, false)?;
        assigned_consumer.assign_when_reachable(vec![partition.cast_signed()], assigning)
    }

    /// Starts the thread that reads, and a heartbeat for the one that assigns.
    fn read<P: Payload + Default + 'static>(
        &mut self,
        edge: &EdgeSpec,
        inlet: Inlet<P>,
        advisory: bool,
    ) -> Result<(AssignedConsumer, Heartbeat), StartError> {
        let topic = self.name(edge).to_owned();
        let registered = HostEvents::register(&self.host, &self.metrics, format!("kafka reader of {topic}"));
        let [heartbeat, assigning] = [(); 2].map(|()| registered.heartbeat());
        let events: Arc<dyn EdgeEvents> = Arc::new(registered);
        let permits = Permits::with_bytes(self.host.settings().delivery.in_flight, self.bytes_read_alone);
        let dead_letters = self.dead_letters();
        let reading = Reading { topic: &topic, inlet, permits, advisory, dead_letters, heartbeat };
        let config = self.client.reader_of_partitions();
        let (assigned_consumer, thread) =
            AssignedConsumer::start(&self.client, &config, reading, events).map_err(|error| refused(&error))?;
        self.assigned_consumers.push((assigned_consumer.clone(), thread));
        Ok((assigned_consumer, assigning))
    }
}

//! The edges of one process. An edge is memory where the topology allows it and both its ends run here, else Kafka; the
//! stages cannot tell which.
//!
//! Every stage opens the edges it sends to and serves those it receives from, in any order: a memory edge finds its
//! reader when the first batch passes, and sources start when the whole mesh is wired, in [`Mesh::run`].

mod clients;
mod drain;
mod low_lane;
mod memory;
mod sources;
mod stage_edges;
mod stages;
#[cfg(test)]
mod tests;
mod transactions;

use std::time::Duration;

use forebay_contract::Stage;
use forebay_contract::edges::{Edge, EdgeSpec, Kind, MODELS, RESULTS};
use forebay_runtime::{Drain, Host, StartError};
use futures_util::FutureExt as _;

pub use memory::EdgePayload;
pub use stages::Stages;

use crate::amqp::{AmqpMessages, AmqpSink};
use crate::kafka::broker_clock::shift_for_test;
use crate::kafka::{Edges, FirstRecord, RawBatch, RawSource, RecordGroup, topic_name};
use crate::{BusSettings, Delivery, Inlet, ModelDirectory, Outlet};
use drain::{Close, Running};
use memory::MemoryEdges;
use sources::Sources;
use stage_edges::{StageEdges, not_in_topology};

/// The edges of one process, while they are wired.
pub struct Mesh {
    host: Host,
    settings: BusSettings,
    stages: Stages,
    kafka: bool,
    memory: MemoryEdges,
    edges: StageEdges,
    directory: Option<ModelDirectory>,
    sources: Sources,
    endpoints: Vec<Close>,
    replies: Option<AmqpSink>,
}

impl std::fmt::Debug for Mesh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mesh").field("stages", &self.stages).field("kafka", &self.kafka).finish_non_exhaustive()
    }
}

impl Mesh {
    /// The edges of a process in which `stages` run. Without `kafka` there are only memory edges, which takes all
    /// stages.
    pub fn new(host: &Host, settings: BusSettings, stages: Stages, kafka: bool) -> Self {
        shift_for_test();
        let kafka = kafka || !stages.is_whole();
        settings.memory.publish(host.metrics());
        Self {
            host: host.clone(),
            settings,
            stages,
            kafka,
            memory: MemoryEdges::default(),
            edges: StageEdges::default(),
            directory: None,
            sources: Sources::default(),
            endpoints: Vec::new(),
            replies: None,
        }
    }

    /// The edges of a process with one stage.
    pub fn of_stage(host: &Host, settings: BusSettings, stage: Stage) -> Self {
        Self::new(host, settings, Stages::one(stage), true)
    }

    /// The process.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The settings of the edges.
    pub fn settings(&self) -> &BusSettings {
        &self.settings
    }

    /// Whether this process talks to Kafka.
    pub fn has_kafka(&self) -> bool {
        self.kafka
    }

    /// Whether an edge stays in this process.
    pub fn is_in_memory(&self, edge: &EdgeSpec) -> bool {
        self.stages.share(edge)
    }

    /// The sending end of an edge for `stage`.
    ///
    /// # Errors
    /// When the stage does not write to the edge, or the Kafka client refuses the settings.
    pub fn outlet<P: EdgePayload>(&mut self, stage: Stage, edge: &Edge<P>) -> Result<Outlet<P>, StartError> {
        if !edge.spec().is_written_by(stage) {
            return Err(not_in_topology(stage, edge.spec(), "write to"));
        }
        match self.is_in_memory(edge.spec()) {
            true => Ok(self.memory.outlet(edge)),
            false => Ok(self.edges(stage)?.outlet(edge)),
        }
    }

    /// The receiving end of an edge. Work comes through the stage's consumer group; advice is read on the partitions
    /// that the stage is assigned on the topic it consumes.
    ///
    /// # Errors
    /// When no stage that runs here reads the edge, or the Kafka client refuses the settings.
    pub fn serve<P: EdgePayload>(&mut self, edge: &'static Edge<P>, inlet: Inlet<P>) -> Result<(), StartError> {
        let stage = self.reader(edge.spec())?;
        if self.is_in_memory(edge.spec()) {
            self.memory.serve(edge, inlet);
            return Ok(());
        }
        match edge.spec().kind {
            // from here on it follows the stage's source, which starts later
            Kind::Advisory => self.edges(stage)?.consume_assigned(edge, inlet),
            Kind::Work => {
                self.sources.add(stage, edge.spec(), move |edges| edges.consume(edge, inlet));
                Ok(())
            }
        }
    }

    /// The receiving end of an edge of which this process reads one partition, without a group.
    ///
    /// # Errors
    /// When no stage that runs here reads the edge, or the Kafka client refuses the settings.
    pub fn serve_partition<P: EdgePayload>(
        &mut self,
        edge: &'static Edge<P>,
        partition: u32,
        inlet: Inlet<P>,
    ) -> Result<(), StartError> {
        let stage = self.reader(edge.spec())?;
        if self.is_in_memory(edge.spec()) {
            self.memory.serve(edge, inlet);
            return Ok(());
        }
        self.edges(stage)?.read_partition(edge, partition, inlet)
    }

    /// Consumes a topic of clients in a group. Without Kafka there is none.
    ///
    /// # Errors
    /// When no stage that runs here reads the topic.
    pub fn serve_records(
        &mut self,
        edge: &EdgeSpec,
        group: RecordGroup,
        take: impl Fn(Delivery<RawBatch>) + Send + 'static,
    ) -> Result<(), StartError> {
        let stage = self.reader(edge)?;
        if self.kafka {
            let topic = topic_name(&self.host.settings().topics, edge).to_owned();
            let source = RawSource { topic, lanes: edge.has_lanes(), group };
            self.sources.add(stage, edge, move |edges| edges.consume_raw(&source, take));
        }
        Ok(())
    }

    /// Takes requests from RabbitMQ for `stage` where settings name a server.
    pub fn serve_messages(&mut self, stage: Stage, take: impl Fn(AmqpMessages) + Send + Sync + 'static) {
        if self.settings.rabbitmq.enabled() {
            self.sources.add_amqp(stage, Box::new(take));
        }
    }

    /// Calls `hook` before the first record of every partition that the source of `edge` is assigned.
    pub fn on_first(&mut self, edge: &EdgeSpec, hook: impl FnMut(FirstRecord) + Send + 'static) {
        self.sources.on_first(edge, Box::new(hook));
    }

    /// Calls `hook` when partitions leave the source of `stage`, before the work in flight on them is waited for.
    ///
    /// # Errors
    /// When the Kafka client refuses the settings.
    pub fn on_revoke(&mut self, stage: Stage, hook: impl Fn() + Send + 'static) -> Result<(), StartError> {
        self.edges(stage)?.on_revoke(hook);
        Ok(())
    }

    /// The model directory of this process, which its stages share. With Kafka it is equal to that of the other processes, and
    /// has what the stages here report.
    ///
    /// # Errors
    /// When the Kafka client refuses the settings or there can be no more threads.
    pub fn directory(&mut self) -> Result<ModelDirectory, StartError> {
        if let Some(directory) = &self.directory {
            return Ok(directory.clone());
        }
        let directory = ModelDirectory::of(&self.host);
        let stage = self.directory_stage()?;
        if self.kafka {
            self.edges(stage)?.sync_directory(&directory, stage == Stage::Prediction)?;
        }
        self.directory = Some(directory.clone());
        Ok(directory)
    }

    /// As [`Mesh::directory`], for a process that takes requests to load and unload models.
    ///
    /// # Errors
    /// As [`Mesh::directory`].
    pub fn writable_directory(&mut self) -> Result<ModelDirectory, StartError> {
        let directory = self.directory()?;
        let stage = self.directory_stage()?;
        if self.kafka {
            self.edges(stage)?.write_overrides(&directory)?;
        }
        Ok(directory)
    }

    /// The stage whose clients the model directory uses: the last one of the path that has to do with it.
    fn directory_stage(&self) -> Result<Stage, StartError> {
        let stage = self.stages.iter().rev().find(|stage| MODELS.is_read_by(*stage));
        stage.ok_or_else(|| StartError::failed("no stage that runs here reads the model directory"))
    }

    /// An endpoint that callers are connected to. When the process ends, `close` gets the time that callers may still
    /// be answered in; meanwhile every edge stays open.
    pub fn close_with<Closed>(&mut self, close: impl FnOnce(Duration) -> Closed + 'static)
    where
        Closed: Future<Output = ()> + 'static,
    {
        self.endpoints.push(Box::new(|limit| close(limit).boxed_local()));
    }

    /// The way of answers over RabbitMQ. It is closed when everything that could send to it has ended.
    pub fn close_last(&mut self, sink: AmqpSink) {
        self.replies = Some(sink);
    }

    /// Starts the sources. From now on work comes in.
    ///
    /// # Errors
    /// When a memory edge has no reader, or the Kafka client or RabbitMQ's address is refused.
    pub fn run(mut self) -> Result<impl Drain, StartError> {
        if let Some(topic) = self.memory.unserved() {
            return Err(StartError::failed(format!("no stage serves the edge {topic}")));
        }
        if self.kafka && self.is_in_memory(RESULTS.spec()) {
            let answers = self.edges(Stage::Publishing)?.records();
            self.edges(Stage::Ingestion)?.answered_through(answers);
        }
        let messages = self.sources.start(&self.host, &self.settings, &mut self.edges)?;
        Ok(Running {
            messages,
            endpoints: self.endpoints,
            edges: self.edges.into_edges(),
            replies: self.replies,
            limit: self.host.settings().delivery.drain,
        })
    }

    /// The stage here that reads `edge`.
    fn reader(&self, edge: &EdgeSpec) -> Result<Stage, StartError> {
        let here = self.stages.iter().find(|stage| edge.is_read_by(*stage));
        here.ok_or_else(|| StartError::failed(format!("no stage that runs here reads {}", edge.topic.name)))
    }

    fn edges(&mut self, stage: Stage) -> Result<&mut Edges, StartError> {
        self.edges.open(&self.host, &self.settings, stage)
    }
}

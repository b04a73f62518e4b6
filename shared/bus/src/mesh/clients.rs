//! What a stage uses of Kafka beside its edges.

use std::sync::Arc;

use forebay_contract::Stage;
use forebay_contract::edges::EdgeSpec;
use forebay_runtime::StartError;

use super::Mesh;
use super::stage_edges::not_in_topology;
use crate::kafka::{Client, DeadLetters, GroupSize, RecordSink, topic_name};
use crate::{NoEvents, stage_name};

impl Mesh {
    /// Records of `stage` to a topic of clients, whose partition count is kept known. None without Kafka.
    ///
    /// # Errors
    /// When the stage does not write to the topic, or the Kafka client refuses the settings.
    pub fn records(&mut self, stage: Stage, edge: &EdgeSpec) -> Result<Option<RecordSink>, StartError> {
        if !edge.is_written_by(stage) {
            return Err(not_in_topology(stage, edge, "write to"));
        }
        if self.kafka {
            self.watch(stage, edge)?;
        }
        self.kafka.then(|| Ok(self.edges(stage)?.records())).transpose()
    }

    /// Keeps the partition count of an edge's topic known to the records of `stage`.
    ///
    /// # Errors
    /// When the Kafka client refuses the settings.
    pub fn watch(&mut self, stage: Stage, edge: &EdgeSpec) -> Result<(), StartError> {
        let topic = topic_name(&self.host.settings().topics, edge).to_owned();
        self.edges(stage).map(|edges| edges.watch(&topic))
    }

    /// Where the dead letters of `stage` go. Without Kafka they are logged.
    ///
    /// # Errors
    /// When the Kafka client refuses the settings.
    pub fn dead_letters(&mut self, stage: Stage) -> Result<DeadLetters, StartError> {
        match self.kafka {
            true => Ok(self.edges(stage)?.dead_letters()),
            false => Ok(DeadLetters::logged(stage_name(stage), Arc::new(NoEvents))),
        }
    }

    /// The Kafka client of `stage`, for reading beside its edges. None without Kafka.
    ///
    /// # Errors
    /// When the client refuses the settings.
    pub fn client(&mut self, stage: Stage) -> Result<Option<Client>, StartError> {
        self.kafka.then(|| Ok(self.edges(stage)?.client().clone())).transpose()
    }

    /// How many replicas share the topic of `edge`, which a stage here consumes in a group; one without Kafka.
    ///
    /// # Errors
    /// When no stage that runs here reads the topic, or the Kafka client refuses the settings.
    pub fn group_size(&mut self, edge: &EdgeSpec) -> Result<GroupSize, StartError> {
        let stage = self.reader(edge)?;
        if !self.kafka {
            return Ok(GroupSize::default());
        }
        let topic = topic_name(&self.host.settings().topics, edge).to_owned();
        self.edges(stage).map(|edges| edges.group_size(&topic))
    }
}

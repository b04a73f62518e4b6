//! The model directory as an edge of a stage.

use std::sync::Arc;

use forebay_contract::edges::MODELS;
use forebay_runtime::{Heartbeat, StartError};

use super::Edges;
use crate::host_events::HostEvents;
use crate::kafka::directory::{DirectoryEdge, DirectoryRecords};
use crate::{EdgeEvents, ModelDirectory};

impl Edges {
    /// Keeps `directory` equal to its topic; once for each process. Reports of this process are written if `reports`, and it
    /// is not ready before the topic has the first of a loaded version.
    ///
    /// # Errors
    /// When the client refuses the settings or there can be no more threads.
    pub fn sync_directory(&mut self, directory: &ModelDirectory, reports: bool) -> Result<(), StartError> {
        let topic = self.name(&MODELS).to_owned();
        let (events, heartbeat) = self.directory_part(format!("kafka model directory {topic}"));
        let mut edge = DirectoryEdge::read(&self.client, &topic, directory, (events, heartbeat), &self.host)?;
        if reports {
            self.watch(&topic);
            let (events, heartbeat) = self.directory_part(format!("prediction reports to {topic}"));
            edge.write(directory, self.sink.clone(), &topic, (heartbeat, DirectoryRecords::All(events)))?;
        }
        self.directories.push(edge);
        Ok(())
    }

    /// A part of the process that it is ready with and that is watched.
    fn directory_part(&self, name: String) -> (Arc<dyn EdgeEvents>, Heartbeat) {
        let events = HostEvents::register(&self.host, &self.metrics, name);
        let heartbeat = events.heartbeat();
        (Arc::new(events), heartbeat)
    }

    /// Writes the requests to load and unload models that this process takes. [`Edges::sync_directory`] comes before.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub fn write_overrides(&mut self, directory: &ModelDirectory) -> Result<(), StartError> {
        let topic = self.name(&MODELS).to_owned();
        let heartbeat = self.host.lifecycle().heartbeat(format!("kafka model directory {topic} writer"));
        self.watch(&topic);
        for edge in &mut self.directories {
            edge.write(directory, self.sink.clone(), &topic, (heartbeat.clone(), DirectoryRecords::Overrides))?;
        }
        Ok(())
    }
}

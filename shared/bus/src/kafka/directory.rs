//! The model directory of a process on the compacted topic `forebay.models`.
//!
//! Every process reads all partitions from the beginning, without a group, and is ready at the end. Those with prediction
//! in them write as well.

mod reader;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use forebay_runtime::StartError;

use super::edges::{Edges, refused};
use crate::host_events::HostEvents;
use crate::{EdgeEvents, ModelDirectory};
use reader::Reader;
use writer::Writer;

/// A board's threads.
#[derive(Debug)]
pub(super) struct DirectoryEdge {
    leaving: Arc<AtomicBool>,
    closing: Arc<AtomicBool>,
    reader: JoinHandle<()>,
    writer: Option<JoinHandle<()>>,
}

impl DirectoryEdge {
    /// Takes this replica's states away and waits, for a moment, until that is on its way. Reading goes on.
    pub(super) fn leave(&mut self) {
        self.leaving.store(true, Ordering::Release);
        if let Some(writer) = self.writer.take() {
            // it bounds itself
            let _ = writer.join();
        }
    }

    /// Stops reading.
    pub(super) fn close(mut self) {
        self.leave();
        self.closing.store(true, Ordering::Release);
        let _ = self.reader.join();
    }
}

impl Edges {
    /// The model directory of a process with one stage, on the topic. `writes` where the process reports: prediction.
    ///
    /// # Errors
    /// When the client refuses the settings or there can be no more threads.
    pub fn directory(&mut self, writes: bool) -> Result<ModelDirectory, StartError> {
        let directory = ModelDirectory::of(&self.host);
        self.follow_directory(&directory, writes)?;
        Ok(directory)
    }

    /// Keeps `directory` equal to the topic; once for each process. What this process says is written where it `writes`.
    ///
    /// # Errors
    /// When the client refuses the settings or there can be no more threads.
    pub fn follow_directory(&mut self, directory: &ModelDirectory, writes: bool) -> Result<(), StartError> {
        let topic = self.host.settings().topics.models.clone();
        directory.caught_up(false);
        let [leaving, closing] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let events: Arc<dyn EdgeEvents> =
            Arc::new(HostEvents::register(&self.host, &self.metrics, format!("kafka model directory {topic}")));
        let reader = Reader::open(&self.client, &topic, directory.clone(), events, Arc::clone(&closing), &self.host);
        let reader = reader.map_err(|error| refused(&error))?.spawn().map_err(StartError::failed)?;
        let writer = if writes {
            self.watch(&topic);
            let writer = Writer::new(directory.clone(), self.sink.clone(), &topic, Arc::clone(&leaving));
            Some(writer.spawn().map_err(StartError::failed)?)
        } else {
            None
        };
        self.directories.push(DirectoryEdge { leaving, closing, reader, writer });
        Ok(())
    }
}

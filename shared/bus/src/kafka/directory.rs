//! The model directory of a process on the compacted topic `forebay.models`.
//!
//! Every process reads all partitions from the beginning, without a group, and is ready when it has reached the end.
//! Those that run prediction write as well, and are ready once that has reached the topic too; those that take requests to
//! load and unload models write them.

mod reader;
mod writer;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use forebay_runtime::{Heartbeat, Host, StartError};

use super::client::{Client, refused};
use super::producer::RecordSink;
use crate::{EdgeEvents, ModelDirectory};
use reader::Reader;
pub(super) use writer::DirectoryRecords;
use writer::Writer;

/// The threads of a model directory.
#[derive(Debug)]
pub(super) struct DirectoryEdge {
    leaving: Arc<AtomicBool>,
    closing: Arc<AtomicBool>,
    reader: JoinHandle<()>,
    writer: Option<JoinHandle<()>>,
}

impl DirectoryEdge {
    /// Keeps `directory` equal to `topic`.
    pub(super) fn read(
        client: &Client,
        topic: &str,
        directory: &ModelDirectory,
        (events, heartbeat): (Arc<dyn EdgeEvents>, Heartbeat),
        host: &Host,
    ) -> Result<Self, StartError> {
        directory.on_topic();
        directory.caught_up(false);
        let [leaving, closing] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let edge = (events, heartbeat);
        let reader = Reader::open(client, topic, directory.clone(), edge, Arc::clone(&closing), host);
        let reader = reader.map_err(|error| refused(&error))?.spawn().map_err(StartError::failed)?;
        Ok(Self { leaving, closing, reader, writer: None })
    }

    /// Writes `records` of what `directory` says of this process to `topic`, unless it writes already.
    pub(super) fn write(
        &mut self,
        directory: &ModelDirectory,
        sink: RecordSink,
        topic: &str,
        (heartbeat, records): (Heartbeat, DirectoryRecords),
    ) -> Result<(), StartError> {
        if self.writer.is_some() {
            return Ok(());
        }
        let writer = Writer::new(directory.clone(), sink, topic, Arc::clone(&self.leaving), (heartbeat, records));
        self.writer = Some(writer.spawn().map_err(StartError::failed)?);
        Ok(())
    }

    /// Removes this replica's states from the topic and waits a moment until the broker has that. Reading continues.
    pub(super) fn leave(&mut self) {
        self.leaving.store(true, Ordering::Release);
        if let Some(writer) = self.writer.take() {
            // the writer bounds its own time
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

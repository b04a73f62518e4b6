//! The transactions of a stage.

use std::sync::Arc;

use forebay_runtime::StartError;

use super::Edges;
use crate::EdgeEvents;
use crate::host_events::HostEvents;
use crate::kafka::client::refused;
use crate::kafka::transactions::{SinkSpec, TransactionSettings, TransactionalSink};

impl Edges {
    /// Records to topics of clients that are written in transactions, with the offsets of what this stage consumes. To be
    /// called before its source is started, which then commits nothing itself.
    ///
    /// # Errors
    /// When the client refuses the settings.
    pub fn transactional_records(&mut self, settings: TransactionSettings) -> Result<TransactionalSink, StartError> {
        let name = format!("kafka transactions of {}", self.stage);
        let registered = HostEvents::register(&self.host, &self.metrics, name);
        let heartbeats = [(); 2].map(|()| registered.heartbeat());
        let events: Arc<dyn EdgeEvents> = Arc::new(registered);
        let (client, counts, dead_letters) = (self.client.clone(), self.sink.clone(), self.dead_letters());
        let spec = SinkSpec { client, stage: self.stage, settings, dead_letters, counts, events, heartbeats };
        let sink = TransactionalSink::open(spec).map_err(|error| refused(&error))?;
        self.transactions = Some(sink.clone());
        Ok(sink)
    }
}

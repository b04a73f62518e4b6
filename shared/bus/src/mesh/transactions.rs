//! Records to topics of clients that are written in transactions.

use forebay_contract::Stage;
use forebay_contract::edges::EdgeSpec;
use forebay_runtime::StartError;

use super::Mesh;
use super::stage_edges::not_in_topology;
use crate::kafka::{TransactionSettings, TransactionalSink};

impl Mesh {
    /// As [`Mesh::records`], in transactions that commit the offsets of what `stage` consumes. Before the stage's source
    /// is served.
    ///
    /// # Errors
    /// When the stage does not write to the topic, or the Kafka client refuses the settings.
    pub fn transactional_records(
        &mut self,
        stage: Stage,
        edge: &EdgeSpec,
        settings: TransactionSettings,
    ) -> Result<TransactionalSink, StartError> {
        if !edge.is_written_by(stage) {
            return Err(not_in_topology(stage, edge, "write to"));
        }
        self.watch(stage, edge)?;
        self.edges(stage)?.transactional_records(settings)
    }
}

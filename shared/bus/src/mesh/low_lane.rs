//! The way back into an edge for work that is to be done later.

use forebay_contract::edges::Edge;
use forebay_contract::{Lane, Stage};
use forebay_runtime::StartError;

use super::{EdgePayload, Mesh};
use crate::Outlet;

impl Mesh {
    /// Another way into an edge that `stage` reads: its low lane, for work that is to be done later. `None` where there is
    /// none: the edge is in memory, or `kafka.lanes` is off.
    ///
    /// # Errors
    /// When the Kafka client refuses the settings.
    pub fn low_lane<P: EdgePayload>(&mut self, stage: Stage, edge: &Edge<P>) -> Result<Option<Outlet<P>>, StartError> {
        if self.is_in_memory(edge.spec()) {
            return Ok(None);
        }
        Ok(self.edges(stage)?.lane(edge, Lane::Low))
    }
}

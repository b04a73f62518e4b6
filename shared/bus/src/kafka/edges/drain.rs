//! The end of a stage's edges, in the order that loses nothing.

use forebay_runtime::Drain;

use super::Edges;
use crate::kafka::directory::DirectoryEdge;
use crate::kafka::source::Source;
use crate::kafka::transactions::TransactionalSink;

impl Drain for Edges {
    async fn drain(mut self) {
        let limit = self.host.settings().delivery.drain;
        let stage = self.stage;
        let work = move || {
            // no stage should wait for a version on a replica that is leaving
            self.directories.iter_mut().for_each(DirectoryEdge::leave);
            self.sources.iter().for_each(Source::stop_intake);
            // return edges stay open until the work they answer is done
            if !self.permits.wait_idle(limit.mul_f64(0.7)) {
                tracing::warn!(stage, items = self.permits.in_use(), "unfinished work is left for another replica");
            }
            if !self.sink.flush(limit.mul_f64(0.15)) {
                tracing::warn!(stage, "not every record got its delivery report");
            }
            if let Some(transactions) = &self.transactions
                && !transactions.flush(limit.mul_f64(0.1))
            {
                tracing::warn!(stage, "not everything was committed, another replica does it again");
            }
            self.directories.into_iter().for_each(DirectoryEdge::close);
            self.assigned_consumers.iter().for_each(|(assigned_consumer, _)| assigned_consumer.close());
            if !self.sources.is_empty() {
                // before partitions are given away: their next owner must not write beside it
                self.sink.abandon_unsent();
            }
            self.sources.into_iter().for_each(Source::close);
            self.transactions.iter().for_each(TransactionalSink::close);
        };
        if tokio::task::spawn_blocking(work).await.is_err() {
            tracing::error!(stage, "draining failed");
        }
    }
}

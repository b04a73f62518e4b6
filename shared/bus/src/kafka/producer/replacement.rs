//! What happens to a producer that has lost its brokers for good.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use forebay_runtime::Heartbeat;
use rdkafka::error::KafkaResult;
use rdkafka::producer::{Producer as _, PurgeConfig};

use super::reports::{REPORTS, serve_reports};
use super::{RecordSink, SendBarrier, SendPass};
use crate::kafka::broker_contact::{DeadClientCheck, discard};

impl RecordSink {
    /// From now on the producer writes topics of clients, where a record must not stand twice.
    pub(crate) fn writes_for_clients(&self) {
        self.0.for_clients.store(true, Ordering::Release);
    }

    /// Whether the producer writes topics of clients.
    pub(crate) fn is_for_clients(&self) -> bool {
        self.0.for_clients.load(Ordering::Acquire)
    }

    /// A pass for records to topics of clients that are about to be made: partitions whose work they answer do not leave
    /// while it is held.
    pub fn pass(&self) -> SendPass {
        self.0.barrier.pass()
    }

    /// What records to topics of clients pass.
    pub(crate) fn barrier(&self) -> SendBarrier {
        self.0.barrier.clone()
    }

    /// Sends nothing more, also of what waits in the client: the process ends, and another replica does the work again.
    pub(crate) fn abandon_unsent(&self) {
        self.0.closing.store(true, Ordering::Release);
        self.0.producer().purge(PurgeConfig::default().queue());
    }

    /// Replaces the client if it is dead. Its records are sent again by the next one; a producer for clients with records
    /// that may have been written ends the process instead, as its successor reads what was written.
    pub(crate) fn replace_dead_client(&self, check: &mut DeadClientCheck, heartbeat: &Heartbeat) {
        let producer = self.0.producer();
        let events = Arc::clone(&producer.context().events);
        if !check.is_dead(producer.client(), &producer.context().contact, heartbeat) {
            return;
        }
        let unsettled = producer.in_flight_count();
        if unsettled > 0 && self.is_for_clients() {
            let why = format!("the producer has lost its brokers for good and {unsettled} records are unsettled");
            return events.fail(&why);
        }
        // the one that is discarded must not end on this thread
        drop(producer);
        match self.replace_client() {
            Ok(()) => events.client_replaced("producer"),
            Err(error) => tracing::warn!(%error, "producer cannot be replaced yet"),
        }
    }

    fn replace_client(&self) -> KafkaResult<()> {
        let context = self.0.producer().context().successor();
        let producer = Arc::new(self.0.config.create_with_context(context)?);
        serve_reports(&producer, self.0.reports.clone(), REPORTS)?;
        // the old one hands its records to the retries, now and not when the thread of its reports lets it go
        let old = std::mem::replace(&mut *self.0.producer.write(), producer);
        old.purge(PurgeConfig::default().queue().inflight().non_blocking());
        discard(old);
        Ok(())
    }
}

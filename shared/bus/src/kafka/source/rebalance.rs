//! The calls of a rebalance, under either protocol, and the time that it may take.

use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer, RebalanceProtocol};
use rdkafka::error::KafkaResult;

use super::SourceContext;
use super::positions::BROKER;
use crate::kafka::producer::RecordSink;

/// Time for finishing the work in flight of a revoked partition, and what happens when it is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RevokeBudget {
    pub(crate) time: Duration,
    /// Whether the process ends when work is left: what its producer still holds must not be written beside the new
    /// owner's.
    pub(crate) ends_process: bool,
}

impl RevokeBudget {
    const SHORT: Duration = Duration::from_millis(800);

    /// A stage that writes topics of clients is given half a session, another one as long as a copy is worth.
    pub(crate) fn new(sink: &RecordSink, session: Duration) -> Self {
        let ends_process = sink.is_for_clients();
        Self { time: if ends_process { session / 2 } else { Self::SHORT }, ends_process }
    }
}

/// Adds partitions, each at its position; without the cooperative protocol they are all there are.
pub(super) fn assign(consumer: &BaseConsumer<SourceContext>, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_assign(list),
        _ => consumer.assign(list),
    }
}

/// Removes partitions; without the cooperative protocol all there are.
pub(super) fn unassign(consumer: &BaseConsumer<SourceContext>, list: &TopicPartitionList) -> KafkaResult<()> {
    match consumer.rebalance_protocol() {
        RebalanceProtocol::Cooperative => consumer.incremental_unassign(list),
        _ => consumer.unassign(),
    }
}

/// A call to the broker for each partition (its first offset, here and on the topic of an assigned consumer), and those
/// for all of them.
pub(super) fn longest_rebalance(list: &TopicPartitionList) -> Duration {
    let partitions = u32::try_from(list.count()).unwrap_or(u32::MAX / 8).min(u32::MAX / 8);
    BROKER * (4 * partitions + 8)
}

//! The calls of a rebalance, under either protocol.

use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer, RebalanceProtocol};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::TopicPartitionListElem;

use super::SourceContext;
use super::positions::BROKER;

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

/// The numbers of the partitions in `list`.
pub(super) fn partitions(list: &TopicPartitionList) -> Vec<i32> {
    list.elements().iter().map(TopicPartitionListElem::partition).collect()
}

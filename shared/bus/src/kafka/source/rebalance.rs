//! The calls of a rebalance, under either protocol, and the time that it may take.

use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer, RebalanceProtocol};
use rdkafka::error::KafkaResult;

use super::SourceContext;
use super::positions::BROKER;
use crate::kafka::producer::{RecordSink, SendBarrier};

/// Time for ending what is in flight of a revoked partition.
#[derive(Clone, Debug)]
pub(crate) struct RevokeBudget {
    /// For the work: as long as doing it again would cost. What is left afterwards is not answered here any more.
    pub(crate) work: Duration,
    /// For records to topics of clients that were sent before, counted from the revocation: they must not be written beside
    /// the new owner's, so the process ends when they are not settled.
    pub(crate) sends: Duration,
    /// What these records pass; nothing does where the work does not end in such records.
    pub(crate) barrier: SendBarrier,
}

impl RevokeBudget {
    const WORK: Duration = Duration::from_millis(800);

    /// The budget of a stage whose own records are `sink`. Where they go to clients, as publishing's do, the work is little
    /// but sends, and has half a session: a replica that has just started does not know which replies over RabbitMQ were
    /// given of a record that is not done.
    pub(crate) fn new(sink: &RecordSink, session: Duration) -> Self {
        match sink.is_for_clients() {
            true => Self { work: session / 2, ..Self::answered_through(sink, session / 8 * 5) },
            false => Self::of_work(Self::WORK),
        }
    }

    /// The budget of work that ends in no records to clients.
    pub(crate) fn of_work(work: Duration) -> Self {
        Self { work, sends: work, barrier: SendBarrier::default() }
    }

    /// The budget of a stage whose work ends in records of another one in this process, within `sends` in all.
    pub(crate) fn answered_through(answers: &RecordSink, sends: Duration) -> Self {
        Self { work: Self::WORK, sends: sends.max(2 * Self::WORK), barrier: answers.barrier() }
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

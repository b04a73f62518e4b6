//! The callbacks of a source's consumer: assignment, revocation, statistics, errors.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use forebay_runtime::Heartbeat;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use crate::EdgeEvents;
use crate::kafka::auth_failure::AuthFailure;
use crate::kafka::client;
use crate::kafka::offset_tracker::OffsetTracker;

/// Time for finishing the work in flight of a revoked partition; always well below the session timeout.
const REVOKE_BUDGET: Duration = Duration::from_millis(800);
const BROKER: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(50);

/// Called with all assigned partitions after every change, before the first of their records is taken.
pub(crate) type OnAssigned = Box<dyn Fn(&[i32]) + Send + Sync>;

/// Called when partitions are about to be revoked.
pub(crate) type OnLeaving = Box<dyn Fn() + Send + Sync>;

pub(crate) struct SourceContext {
    pub(crate) topic: Arc<str>,
    pub(crate) offsets: Arc<OffsetTracker>,
    pub(crate) generation: Arc<AtomicU64>,
    pub(crate) from_latest: bool,
    pub(crate) events: Arc<dyn EdgeEvents>,
    /// The heartbeat of the source's thread, on which the callbacks run as well.
    pub(crate) heartbeat: Heartbeat,
    pub(crate) on_assigned: OnAssigned,
    pub(crate) on_leaving: OnLeaving,
    pub(crate) auth_failure: AuthFailure,
    /// Whether this member has joined the group; from then on the group handles a broken connection.
    pub(crate) joined: AtomicBool,
}

impl ClientContext for SourceContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        if let Some(why) = self.auth_failure.record_log(facility, text) {
            self.not_joined(&why);
        }
        client::log(level, facility, text);
    }

    fn stats(&self, statistics: Statistics) {
        self.events.throttled("consumer", client::throttled(&statistics));
        let Some(topic) = statistics.topics.get(&*self.topic) else { return };
        for (partition, state) in &topic.partitions {
            if state.consumer_lag >= 0 && self.offsets.assigned().contains(partition) {
                self.events.lag(&self.topic, *partition, state.consumer_lag);
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(why) = self.auth_failure.record_error(&error, reason) {
            self.not_joined(&why);
        } else if reason.starts_with("JoinGroup failed") {
            self.not_joined(reason);
        }
        tracing::debug!(topic = &*self.topic, %error, reason, "consumer reports an error");
    }
}

impl ConsumerContext for SourceContext {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let _waiting = self.heartbeat.waiting(longest_rebalance(rebalance));
        match rebalance {
            Rebalance::Assign(list) => self.arrive(consumer, list),
            Rebalance::Revoke(list) => self.leave(consumer, list),
            Rebalance::Error(error) => tracing::warn!(topic = &*self.topic, %error, "rebalance failed"),
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if matches!(rebalance, Rebalance::Assign(_)) {
            self.joined.store(true, Ordering::Release);
            // a member without partitions is a ready one: there are more replicas than partitions
            self.events.ready();
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(topic = &*self.topic, %error, "commit failed");
        }
    }
}

impl SourceContext {
    /// A member that has joined is unready only when it loses its partitions.
    fn not_joined(&self, why: &str) {
        if !self.joined.load(Ordering::Acquire) {
            self.events.unready(why);
        }
    }

    fn arrive(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let partitions = partitions(list);
        if self.from_latest && !partitions.is_empty() {
            self.pin_positions(consumer, list);
        }
        let generation = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
        self.offsets.assign(&partitions, generation);
        (self.on_assigned)(&self.offsets.assigned());
        tracing::info!(topic = &*self.topic, ?partitions, "partitions assigned");
    }

    fn leave(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let partitions = partitions(list);
        let lost = consumer.assignment_lost();
        (self.on_leaving)();
        if lost {
            self.joined.store(false, Ordering::Release);
            self.events.unready("the group was lost, joining it again");
        }
        let budget = if lost { Duration::ZERO } else { REVOKE_BUDGET };
        let done = self.offsets.revoke(&partitions, budget);
        if !lost {
            // stored here, committed by librdkafka while it lets the partitions go
            for (partition, offset) in done {
                let _ = consumer.store_offset(&self.topic, partition, offset - 1);
            }
        }
        (self.on_assigned)(&self.offsets.assigned());
        partitions.iter().for_each(|partition| self.events.forget_lag(&self.topic, *partition));
        tracing::info!(topic = &*self.topic, ?partitions, lost, "partitions revoked");
    }

    /// Commits the end of each partition that has no committed offset yet, before the first record is fetched: from
    /// then on a kill loses nothing.
    fn pin_positions(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let committed = match consumer.committed_offsets(list.clone(), BROKER) {
            Ok(committed) => committed,
            Err(error) => return tracing::warn!(topic = &*self.topic, %error, "committed offsets not known"),
        };
        let deadline = Instant::now() + BROKER;
        let mut pinned = TopicPartitionList::new();
        for element in committed.elements().iter().filter(|e| !matches!(e.offset(), Offset::Offset(_))) {
            let partition = element.partition();
            let pin = |end| pinned.add_partition_offset(&self.topic, partition, Offset::Offset(end));
            if let Err(error) = self.end_of(consumer, partition, deadline).and_then(pin) {
                tracing::warn!(topic = &*self.topic, partition, %error, "position not pinned");
            }
        }
        if pinned.count() > 0
            && let Err(error) = consumer.commit(&pinned, CommitMode::Sync)
        {
            tracing::warn!(topic = &*self.topic, %error, "first positions not committed");
        }
    }

    /// The next offset of a partition. A leader that is being elected is waited for: without a pinned position the
    /// client would start at whatever is the end later on, and requests in between would be lost.
    fn end_of(&self, consumer: &BaseConsumer<Self>, partition: i32, deadline: Instant) -> KafkaResult<i64> {
        loop {
            match consumer.fetch_watermarks(&self.topic, partition, BROKER) {
                Ok((_, end)) => return Ok(end),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => std::thread::sleep(AGAIN),
            }
        }
    }
}

/// Two calls to the broker for each partition (its end, here and on the topic of an assigned consumer), and those for
/// all of them.
fn longest_rebalance(rebalance: &Rebalance<'_>) -> Duration {
    let partitions = match rebalance {
        Rebalance::Assign(list) | Rebalance::Revoke(list) => list.count(),
        Rebalance::Error(_) => 0,
    };
    REVOKE_BUDGET + BROKER * (2 * u32::try_from(partitions).unwrap_or(u32::MAX / 8).min(u32::MAX / 8) + 6)
}

fn partitions(list: &TopicPartitionList) -> Vec<i32> {
    list.elements().iter().map(rdkafka::topic_partition_list::TopicPartitionListElem::partition).collect()
}

//! The callbacks of a source's consumer: assignment, revocation, statistics, errors.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use forebay_contract::now_us;
use forebay_runtime::Heartbeat;
use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, TopicPartitionList};

use super::leaving::Leaving;
use super::positions::Positions;
use super::rebalance::{RevokeBudget, assign, longest_rebalance, unassign};
use super::topics::SourceTopics;
use super::unreadable::is_unreadable;
use crate::EdgeEvents;
use crate::kafka::auth_failure::AuthFailure;
use crate::kafka::broker_contact::BrokerContact;
use crate::kafka::client;
use crate::kafka::offset_tracker::OffsetTracker;
use crate::kafka::statistics::ClientStatistics;

/// Called with all assigned partitions after every change, before the first of their records is taken.
pub(crate) type OnAssigned = Arc<dyn Fn(&[i32]) + Send + Sync>;

/// Called when partitions are about to be revoked.
pub(crate) type OnLeaving = Arc<dyn Fn() + Send + Sync>;

/// What the consumers of one source share, one after the other.
#[derive(Clone)]
pub(super) struct SourceState {
    pub(super) topics: SourceTopics,
    pub(super) offsets: Arc<OffsetTracker>,
    pub(super) generation: Arc<AtomicU64>,
    pub(super) positions: Arc<Positions>,
    pub(super) events: Arc<dyn EdgeEvents>,
    /// The heartbeat of the source's thread, on which the callbacks run as well.
    pub(super) heartbeat: Heartbeat,
    pub(super) on_assigned: OnAssigned,
    pub(super) on_leaving: OnLeaving,
    pub(super) revoke_budget: RevokeBudget,
}

/// The context of one consumer.
pub(crate) struct SourceContext {
    pub(super) state: SourceState,
    auth_failure: AuthFailure,
    pub(super) contact: BrokerContact,
    /// Whether this member has joined the group; from then on the group handles a broken connection.
    pub(super) joined: AtomicBool,
    pub(super) leaving: Mutex<Option<Leaving>>,
    /// The partitions with lag of the last statistics.
    lagging: Mutex<Option<Vec<i32>>>,
    /// What the client last said of a batch that it cannot read.
    unreadable: Mutex<Option<String>>,
    /// Whether the source's loop has ended, so that partitions cannot be let go later.
    pub(super) closing: AtomicBool,
    /// Whether the client was replaced: what it still reports is about partitions of its successor.
    replaced: AtomicBool,
}

impl ClientContext for SourceContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        if let Some(why) = self.auth_failure.record_log(facility, text) {
            self.not_joined(&why);
        }
        client::log(level, facility, text);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        let Some(statistics) = ClientStatistics::read(statistics) else { return };
        self.state.events.throttled("consumer", statistics.throttled());
        self.contact.record(&statistics);
        let mut lagging = Vec::new();
        for key in self.state.offsets.assigned() {
            let (topic, partition) = self.state.topics.of(key);
            let state = statistics.topics.get(topic).and_then(|topic| topic.partitions.get(&partition));
            let Some(state) = state else { continue };
            if state.consumer_lag > 0 {
                lagging.push(key);
            }
            // the client does not see what transactions commit
            let in_transactions = self.state.offsets.is_transactional();
            let lag = if in_transactions { state.consumer_lag_stored } else { state.consumer_lag };
            if lag >= 0 {
                self.state.events.lag(topic, partition, lag);
            }
        }
        *self.lagging.lock() = Some(lagging);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(why) = self.auth_failure.record_error(&error, reason) {
            self.not_joined(&why);
        } else if reason.starts_with("JoinGroup failed") {
            self.not_joined(reason);
        } else if is_unreadable(error.rdkafka_error_code()) {
            *self.unreadable.lock() = Some(reason.to_owned());
        }
        tracing::debug!(topic = self.topic(), %error, reason, "consumer reports an error");
    }
}

impl ConsumerContext for SourceContext {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let _waiting = self.state.heartbeat.waiting(longest_rebalance(list));
        if self.replaced.load(Ordering::Acquire) {
            return self.unassign(consumer, list);
        }
        match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.arrive(consumer, list),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => self.leave(consumer, list),
            error => {
                let error = RDKafkaErrorCode::from(error);
                tracing::warn!(topic = self.topic(), %error, "rebalance failed");
                self.unassign(consumer, list);
            }
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(topic = self.topic(), %error, "commit failed");
        }
    }
}

impl SourceContext {
    pub(super) fn new(state: SourceState) -> Self {
        let [joined, closing, replaced] = [(); 3].map(|()| AtomicBool::new(false));
        let (auth_failure, contact) = (AuthFailure::default(), BrokerContact::default());
        let (leaving, lagging, unreadable) = (Mutex::default(), Mutex::default(), Mutex::default());
        Self { state, auth_failure, contact, joined, leaving, lagging, unreadable, closing, replaced }
    }

    pub(super) fn topic(&self) -> &str {
        self.state.topics.base()
    }

    pub(super) fn fail(&self, why: &str) {
        self.state.events.fail(&format!("topic {}: {why}", self.topic()));
    }

    /// A member that has joined is unready only when it loses its partitions.
    fn not_joined(&self, why: &str) {
        if !self.joined.load(Ordering::Acquire) {
            self.state.events.unready(why);
        }
    }

    fn arrive(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let partitions = self.state.topics.keys(list);
        let positions = self.state.positions.of_assigned(consumer, &partitions);
        let since_us = now_us();
        let ends = self.state.positions.ends(consumer, &partitions);
        let generation = self.state.generation.fetch_add(1, Ordering::AcqRel) + 1;
        self.state.offsets.assign(&partitions, generation);
        ends.into_iter().for_each(|(key, end)| self.state.offsets.note_end(key, end, since_us));
        self.report_assigned();
        if let Err(error) = assign(consumer, &positions) {
            return self.fail(&format!("partitions cannot be assigned: {error}"));
        }
        // the client keeps a pause for good, so a partition that was paused when it left would never be read again
        if let Err(error) = consumer.resume(list) {
            tracing::debug!(topic = self.topic(), %error, "partitions that arrive are not resumed");
        }
        tracing::info!(topic = self.topic(), partitions = self.state.topics.shown(&partitions), "partitions assigned");
        self.joined.store(true, Ordering::Release);
        // a member without partitions is a ready one: there are more replicas than partitions
        self.state.events.ready();
    }

    /// The partitions with lag, once for each report of statistics.
    pub(super) fn take_lagging(&self) -> Option<Vec<i32>> {
        self.lagging.lock().take()
    }

    /// What the client last said of a batch that it cannot read.
    pub(super) fn take_unreadable(&self) -> Option<String> {
        self.unreadable.lock().take()
    }

    /// Removes partitions that were lost, or with `done` those that are given back, whose work has ended up to there.
    pub(super) fn part(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList, done: Option<&[(i32, i64)]>) {
        let (partitions, lost) = (self.state.topics.keys(list), done.is_none());
        match done {
            None => drop(self.state.offsets.revoke(&partitions)),
            Some(done) => {
                self.state.positions.withdraw_attempts(consumer, done);
                // stored here, committed by librdkafka while it lets the partitions go
                let _ = consumer.store_offsets(&self.state.positions.to_commit(done));
            }
        }
        self.unassign(consumer, list);
        self.forget(&partitions);
        let partitions = self.state.topics.shown(&partitions);
        tracing::info!(topic = self.topic(), partitions, lost, "partitions revoked");
    }

    fn unassign(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        if let Err(error) = unassign(consumer, list) {
            tracing::debug!(topic = self.topic(), %error, "partitions are not unassigned");
        }
    }

    fn forget(&self, partitions: &[i32]) {
        self.state.positions.forget(partitions);
        self.report_assigned();
        for (topic, partition) in partitions.iter().map(|key| self.state.topics.of(*key)) {
            self.state.events.forget_lag(topic, partition);
        }
    }

    fn report_assigned(&self) {
        (self.state.on_assigned)(&self.state.topics.partitions(&self.state.offsets.assigned()));
    }

    /// The client is replaced: its partitions are lost, and what it still reports is ignored.
    pub(super) fn replaced(&self) {
        self.replaced.store(true, Ordering::Release);
        (self.state.on_leaving)();
        let partitions = self.state.offsets.assigned();
        self.state.offsets.revoke(&partitions);
        self.forget(&partitions);
        self.state.events.unready("the client was replaced, joining the group again");
    }

    /// The context of the client that replaces this one.
    pub(super) fn successor(&self) -> Self {
        Self::new(self.state.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use forebay_contract::Lane;
    use forebay_runtime::Lifecycle;

    use super::*;
    use crate::kafka::source::RevokeBudget;

    /// The lags that are shown, by topic and partition.
    #[derive(Default)]
    struct Lags(Mutex<HashMap<(String, i32), i64>>);

    impl EdgeEvents for Lags {
        fn lag(&self, topic: &str, partition: i32, records: i64) {
            self.0.lock().insert((topic.to_owned(), partition), records);
        }

        fn forget_lag(&self, topic: &str, partition: i32) {
            self.0.lock().remove(&(topic.to_owned(), partition));
        }
    }

    #[test]
    fn each_lane_shows_its_lag_and_forgets_it() {
        let (topics, lags) = (SourceTopics::lanes("t"), Arc::new(Lags::default()));
        let events: Arc<dyn EdgeEvents> = Arc::clone(&lags) as _;
        let context = SourceContext::new(SourceState {
            topics: topics.clone(),
            offsets: Arc::default(),
            generation: Arc::default(),
            positions: Arc::new(Positions::new(&topics, false, &events)),
            events,
            heartbeat: Lifecycle::new().heartbeat("test"),
            on_assigned: Arc::new(|_| ()),
            on_leaving: Arc::new(|| ()),
            revoke_budget: RevokeBudget::of_work(Duration::ZERO),
        });
        let keys = [topics.key("t.low", 1), topics.key("t", 1)];
        context.state.offsets.assign(&keys, 1);
        let topic = |[first, second]: [i64; 2]| {
            let lag = |lag: i64| serde_json::json!({ "consumer_lag": lag });
            serde_json::json!({ "partitions": { "0": lag(first), "1": lag(second), "-1": lag(99) } })
        };
        let topics = serde_json::json!({ "t.high": topic([7, 7]), "t": topic([7, 0]), "t.low": topic([7, 5]) });
        context.stats_raw(serde_json::json!({ "topics": topics }).to_string().as_bytes());
        assert_eq!(*lags.0.lock(), [(("t".to_owned(), 1), 0), ((Lane::Low.topic("t"), 1), 5)].into());
        assert_eq!(context.take_lagging(), Some(vec![keys[0]]));
        context.forget(&keys);
        assert!(lags.0.lock().is_empty());
    }
}

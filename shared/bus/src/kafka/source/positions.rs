//! Where a source reads each partition. Every partition is assigned with an explicit position, and a position that the
//! topic no longer has is an error with its size, never a silent jump: `auto.offset.reset` is `error`. Partitions are
//! known by their keys.

mod commit_metadata;
mod group_start;
mod recovery;
mod topic_ids;

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use commit_metadata::CommitMetadata;
use forebay_contract::now_ms;
use group_start::GroupStart;
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};
use recovery::Lost;
pub(super) use recovery::ResumeAt;
use rustc_hash::FxHashMap;
use topic_ids::{TopicIds, differ};

use super::SourceContext;
use super::attempts::{Attempts, WithoutProgress};
use super::topics::SourceTopics;
use crate::EdgeEvents;
use crate::kafka::ffi::commit_within;
use crate::kafka::topic_id::ClusterTopic;

/// Longest time that one call to a broker is given.
pub(super) const BROKER: Duration = Duration::from_secs(5);

/// What was read of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReadUpTo {
    /// The offset of the next record.
    pub(super) next: i64,
    /// The latest timestamp of the records read, in milliseconds since the epoch.
    pub(super) latest_ms: Option<i64>,
}

/// The positions of one source in its topic.
pub(super) struct Positions {
    topic: Arc<str>,
    topics: SourceTopics,
    /// Whether a new group begins at the end of the topic, or at its beginning.
    from_latest: bool,
    /// Whether clients write the topic.
    of_clients: bool,
    /// When the group first read this topic, in milliseconds since the epoch; -1 when that is not known.
    group_start_ms: AtomicI64,
    /// The number of partitions at that time; 0 when that is not known.
    group_start_partitions: AtomicI32,
    topic_ids: TopicIds,
    read: Mutex<FxHashMap<i32, ReadUpTo>>,
    pub(super) without_progress: WithoutProgress,
    events: Arc<dyn EdgeEvents>,
}

impl Positions {
    pub(super) fn new(topics: &SourceTopics, from_latest: bool, events: &Arc<dyn EdgeEvents>) -> Self {
        Self {
            topic: Arc::clone(topics.base()),
            topics: topics.clone(),
            from_latest,
            of_clients: false,
            group_start_ms: AtomicI64::new(-1),
            group_start_partitions: AtomicI32::new(0),
            topic_ids: TopicIds::new(topics),
            read: Mutex::default(),
            without_progress: WithoutProgress::default(),
            events: Arc::clone(events),
        }
    }

    /// The same, for a topic that clients write.
    pub(super) fn of_clients(self, of_clients: bool) -> Self {
        Self { of_clients, ..self }
    }

    /// Offsets are committed in transactions.
    pub(super) fn in_transactions(self) -> Self {
        Self { without_progress: WithoutProgress::off(), ..self }
    }

    /// The positions of newly assigned partitions. Without an answer from the broker a partition gets no position, and
    /// the client reports it as one that is lost, which [`Positions::recover`] takes up.
    pub(super) fn of_assigned(&self, consumer: &BaseConsumer<SourceContext>, partitions: &[i32]) -> TopicPartitionList {
        let found = self.look_up(consumer, partitions).unwrap_or_else(|error| {
            tracing::warn!(topic = &*self.topic, %error, "committed offsets are not known yet");
            partitions.iter().map(|partition| (*partition, Offset::Stored)).collect()
        });
        let mut list = TopicPartitionList::new();
        for (partition, offset) in found {
            // only a negative number that stands for nothing is refused
            let _ = self.topics.add_offset(&mut list, partition, offset);
        }
        list
    }

    fn look_up(&self, consumer: &BaseConsumer<SourceContext>, partitions: &[i32]) -> KafkaResult<Vec<(i32, Offset)>> {
        let committed = self.committed(consumer, partitions)?;
        let start = self.group_start_ms.load(Ordering::Acquire);
        let group = match (self.from_latest, start, committed.is_empty()) {
            (false, ..) => GroupStart::Beginning,
            // offsets of a build that did not write the start: what was added since is unread
            (true, ..0, false) => GroupStart::Beginning,
            (true, ..0, true) => GroupStart::Now,
            (true, start, _) => GroupStart::At(start),
        };
        if group == GroupStart::Now {
            self.group_start_ms.store(now_ms(), Ordering::Release);
            self.group_start_partitions.store(self.partition_count(consumer)?, Ordering::Release);
        }
        let current = self.topic_ids.current(consumer);
        let unread: Vec<i32> = match group {
            GroupStart::Beginning => partitions.iter().copied().filter(|key| !committed.contains_key(key)).collect(),
            _ => Vec::new(),
        };
        let beginnings = self.beginnings(consumer, &unread);
        let deadline = Instant::now() + BROKER;
        let (mut pinned, mut found) = (Vec::new(), Vec::with_capacity(partitions.len()));
        for partition in partitions {
            let before = committed.get(partition);
            let valid = before.filter(|before| !differ(before.topic_id, current.of(*partition)));
            let offset = match valid {
                Some(committed) => Offset::Offset(committed.read.next),
                None if group == GroupStart::Beginning && before.is_none() => {
                    beginnings.get(partition).map_or(Offset::Beginning, |first| Offset::Offset(*first))
                }
                None => {
                    let whole = before.is_some() || self.was_added(*partition);
                    let group = if whole { GroupStart::Beginning } else { group };
                    let first = self.first_of(consumer, *partition, group, deadline)?;
                    if let Some(before) = before {
                        self.report(*partition, before.read.next, first, Lost::Recreated);
                    }
                    pinned.push((*partition, first));
                    Offset::Offset(first)
                }
            };
            let (next, before) = valid.map_or_else(Default::default, |valid| (valid.read.next, valid.attempts));
            self.without_progress.assigned(*partition, next, before);
            found.push((*partition, offset));
        }
        let mut read = self.read.lock();
        read.extend(partitions.iter().filter_map(|partition| Some((*partition, committed.get(partition)?.read))));
        read.extend(pinned.iter().map(|(partition, next)| (*partition, ReadUpTo { next: *next, latest_ms: None })));
        drop(read);
        self.topic_ids.note(partitions, &current);
        let ids = partitions.iter().filter_map(|partition| Some((*partition, committed.get(partition)?.topic_id?)));
        ids.for_each(|(partition, id)| self.topic_ids.keep(partition, id));
        self.pin(consumer, &pinned);
        Ok(found)
    }

    /// The committed offsets of the group: of `partitions`, or of the whole topic where they tell when it started.
    fn committed(
        &self,
        consumer: &BaseConsumer<SourceContext>,
        partitions: &[i32],
    ) -> KafkaResult<FxHashMap<i32, Committed>> {
        let mut list = TopicPartitionList::new();
        if self.from_latest {
            for topic in self.topics.names() {
                let metadata = consumer.fetch_metadata(Some(topic), BROKER)?;
                let all = metadata.topics().iter().flat_map(|topic| topic.partitions());
                all.for_each(|partition| _ = list.add_partition(topic, partition.id()));
            }
        }
        let missing = partitions.iter().filter(|p| self.topics.find(&list, **p).is_none());
        missing.copied().collect::<Vec<_>>().iter().for_each(|p| _ = self.topics.add(&mut list, *p));
        let mut committed = FxHashMap::default();
        for element in consumer.committed_offsets(list, BROKER)?.elements() {
            let Offset::Offset(next) = element.offset() else { continue };
            let metadata = CommitMetadata::parse(element.metadata());
            let read = ReadUpTo { next, latest_ms: metadata.latest_read_ms };
            let key = self.topics.key(element.topic(), element.partition());
            committed.insert(key, Committed { read, topic_id: metadata.topic_id, attempts: metadata.attempts });
            if let Some(start) = metadata.group_start_ms {
                self.group_start_ms.store(start, Ordering::Release);
            }
            if let Some(partitions) = metadata.partitions {
                self.group_start_partitions.store(partitions, Ordering::Release);
            }
        }
        Ok(committed)
    }

    /// Whether the topic has been deleted and created again since its positions were looked up.
    pub(super) fn is_other_topic(&self, consumer: &BaseConsumer<SourceContext>, assigned: &[i32]) -> bool {
        let current = self.topic_ids.current(consumer);
        self.topic_ids.learn(assigned, &current);
        self.topic_ids.have_changed(&current)
    }

    /// Commits first positions before a record is read: from then on a kill loses nothing.
    fn pin(&self, consumer: &BaseConsumer<SourceContext>, first: &[(i32, i64)]) {
        let list = self.to_commit(first);
        if list.count() > 0
            && let Err(error) = commit_within(consumer.client(), Some(&list), BROKER)
        {
            tracing::warn!(topic = &*self.topic, %error, "first positions are not committed");
        }
    }

    /// Takes back that work has begun on partitions which leave in order and without progress.
    pub(super) fn withdraw_attempts(&self, consumer: &BaseConsumer<SourceContext>, leaving: &[(i32, i64)]) {
        let list = self.to_commit(&self.without_progress.withdraw(leaving));
        if list.count() > 0
            && let Err(error) = consumer.commit(&list, CommitMode::Async)
        {
            tracing::debug!(topic = &*self.topic, %error, "the start of work is not taken back");
        }
    }

    /// Notes what a round has read.
    pub(super) fn has_read(&self, round: &[(i32, ReadUpTo)]) {
        let mut read = self.read.lock();
        for (partition, up_to) in round {
            let known = read.entry(*partition).or_insert(*up_to);
            *known = ReadUpTo { next: up_to.next, latest_ms: known.latest_ms.max(up_to.latest_ms) };
        }
    }

    /// `offsets` as they are stored or committed, with what a successor has to know.
    pub(super) fn to_commit(&self, offsets: &[(i32, i64)]) -> TopicPartitionList {
        let start = Some(self.group_start_ms.load(Ordering::Acquire)).filter(|start| *start >= 0);
        let parts = Some(self.group_start_partitions.load(Ordering::Acquire)).filter(|partitions| *partitions > 0);
        let read = self.read.lock();
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for (partition, offset) in offsets {
            let latest_read_ms = read.get(partition).and_then(|read| read.latest_ms);
            let attempts = self.without_progress.to_commit(*partition).unwrap_or_default();
            let topic_id = self.topic_ids.of(*partition);
            let metadata =
                CommitMetadata { group_start_ms: start, partitions: parts, latest_read_ms, topic_id, attempts };
            let mut element = self.topics.add(&mut list, *partition);
            // an offset that a broker gave is never refused
            let _ = element.set_offset(Offset::Offset(*offset));
            element.set_metadata(metadata.to_string());
        }
        list
    }

    /// The offsets that are read next, of those of `partitions` where they are known.
    pub(super) fn next_of(&self, partitions: &[i32]) -> Vec<(i32, i64)> {
        let read = self.read.lock();
        partitions.iter().filter_map(|partition| Some((*partition, read.get(partition)?.next))).collect()
    }

    /// The topics.
    pub(super) fn topics(&self) -> &SourceTopics {
        &self.topics
    }

    /// Forgets partitions that have left.
    pub(super) fn forget(&self, partitions: &[i32]) {
        let mut read = self.read.lock();
        partitions.iter().for_each(|partition| _ = read.remove(partition));
        drop(read);
        self.topic_ids.forget(partitions);
        self.without_progress.forget(partitions);
    }
}

/// What the group has committed for a partition.
#[derive(Clone, Copy, Debug)]
struct Committed {
    read: ReadUpTo,
    topic_id: Option<ClusterTopic>,
    attempts: Attempts,
}

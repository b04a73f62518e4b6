//! Which topics a source reads: one that was deleted and created again has another id, and no position of the old one
//! means anything in it. librdkafka keeps its positions then, and skips the records before them without an error.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rustc_hash::FxHashMap;

use crate::kafka::ffi::topic_ids;
use crate::kafka::source::SourceContext;
use crate::kafka::source::topics::SourceTopics;
use crate::kafka::topic_id::{ClusterTopic, TopicId};

/// Longest time that an answer is waited for.
const LONGEST: Duration = Duration::from_secs(1);
/// For how long nothing is asked after there was no answer: some brokers never give one.
const PAUSE: Duration = Duration::from_secs(60);

/// The ids of a source's topics.
#[derive(Debug)]
pub(super) struct TopicIds {
    topics: SourceTopics,
    /// The ids under which the positions of the assigned partitions were looked up, by key.
    known: Mutex<FxHashMap<i32, ClusterTopic>>,
    unanswered: Mutex<Option<Instant>>,
}

/// The ids of all topics of a source at one time; none is known where the broker does not answer.
pub(super) struct CurrentIds<'t> {
    topics: &'t SourceTopics,
    ids: Vec<Option<ClusterTopic>>,
}

impl CurrentIds<'_> {
    /// The id of the topic of a key.
    pub(super) fn of(&self, key: i32) -> Option<ClusterTopic> {
        self.ids.get(self.topics.index_of(key)).copied().flatten()
    }
}

impl TopicIds {
    pub(super) fn new(topics: &SourceTopics) -> Self {
        Self { topics: topics.clone(), known: Mutex::default(), unanswered: Mutex::default() }
    }

    /// The id under which the position of a partition was looked up.
    pub(super) fn of(&self, key: i32) -> Option<ClusterTopic> {
        self.known.lock().get(&key).copied()
    }

    /// Notes that the positions of partitions are of these topics.
    pub(super) fn note(&self, keys: &[i32], current: &CurrentIds<'_>) {
        self.known.lock().extend(keys.iter().filter_map(|key| Some((*key, current.of(*key)?))));
    }

    /// Notes the ids of partitions whose ids were not known when they were assigned.
    pub(super) fn learn(&self, keys: &[i32], current: &CurrentIds<'_>) {
        let mut known = self.known.lock();
        for key in keys {
            if let Some(id) = current.of(*key) {
                known.entry(*key).or_insert(id);
            }
        }
    }

    /// Notes the id that was committed with a position, where the broker does not tell it now.
    pub(super) fn keep(&self, key: i32, committed: ClusterTopic) {
        self.known.lock().entry(key).or_insert(committed);
    }

    /// Forgets partitions that have left.
    pub(super) fn forget(&self, keys: &[i32]) {
        let mut known = self.known.lock();
        keys.iter().for_each(|key| _ = known.remove(key));
    }

    /// Whether a topic is another one than when its positions were looked up.
    pub(super) fn have_changed(&self, current: &CurrentIds<'_>) -> bool {
        self.known.lock().iter().any(|(key, known)| differ(Some(*known), current.of(*key)))
    }

    /// What the broker says now.
    pub(super) fn current(&self, consumer: &BaseConsumer<SourceContext>) -> CurrentIds<'_> {
        let mut current = CurrentIds { topics: &self.topics, ids: Vec::new() };
        let mut unanswered = self.unanswered.lock();
        if unanswered.is_some_and(|since| since.elapsed() < PAUSE) {
            return current;
        }
        let found = topic_ids(consumer.client(), &self.topics.names(), LONGEST);
        *unanswered = found.is_err().then(Instant::now);
        match found {
            Ok(ids) => {
                let cluster = consumer.client().fetch_cluster_id(LONGEST).map_or(0, |id| hash_of(&id));
                let of = |topic: Option<TopicId>| topic.map(|topic| ClusterTopic { cluster, topic });
                current.ids = ids.into_iter().map(of).collect();
            }
            Err(error) => tracing::debug!(topic = &**self.topics.base(), %error, "topic ids are not known"),
        }
        current
    }
}

/// The first bytes of a hash.
fn hash_of(id: &str) -> u32 {
    let [a, b, c, d, ..] = *blake3::hash(id.as_bytes()).as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// Whether both are known, and one topic has been made in place of the other.
pub(super) fn differ(one: Option<ClusterTopic>, other: Option<ClusterTopic>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one.was_replaced_by(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_was_made_again_is_another_one_for_the_partitions_that_stayed() {
        let topics = SourceTopics::one("requests");
        let ids = TopicIds::new(&topics);
        let topic = |id| TopicId::of_bits((0, id)).map(|topic| ClusterTopic { cluster: 1, topic });
        let current = |id| CurrentIds { topics: &topics, ids: vec![topic(id)] };
        ids.note(&[0, 1], &current(7));
        assert!(!ids.have_changed(&current(7)) && !ids.have_changed(&current(0)), "unknown is no change");
        assert!(ids.have_changed(&current(8)));
        // one that arrives later belongs to the new topic, and the other one has still to notice
        ids.note(&[1], &current(8));
        assert!(ids.have_changed(&current(8)));
        ids.forget(&[0]);
        assert!(!ids.have_changed(&current(8)));
        assert_eq!((ids.of(0), ids.of(1)), (None, topic(8)));
    }
}

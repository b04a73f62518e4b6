//! Which topics a source reads: one that was deleted and created again has another id, and no position of the old one
//! means anything in it. librdkafka keeps its positions then, and skips the records before them without an error.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use crate::kafka::ffi::topic_ids;
use crate::kafka::source::SourceContext;
use crate::kafka::source::topics::SourceTopics;
use crate::kafka::topic_id::TopicId;

/// Longest time that an answer is waited for.
const LONGEST: Duration = Duration::from_secs(1);
/// For how long nothing is asked after there was no answer: some brokers never give one.
const PAUSE: Duration = Duration::from_secs(60);

/// The ids of the topics of a source as they were last seen, in the order of their names; `None` where they are not known.
#[derive(Debug)]
pub(super) struct TopicIds {
    topics: SourceTopics,
    known: Mutex<Vec<Option<TopicId>>>,
    unanswered: Mutex<Option<Instant>>,
}

impl TopicIds {
    pub(super) fn new(topics: &SourceTopics) -> Self {
        Self {
            topics: topics.clone(),
            known: Mutex::new(vec![None; topics.names().len()]),
            unanswered: Mutex::default(),
        }
    }

    /// The id of the topic of a key.
    pub(super) fn of(&self, key: i32) -> Option<TopicId> {
        self.known.lock()[self.topics.index_of(key)]
    }

    /// Asks the broker for the ids. The function that is returned says whether the topic of a key is another one than before;
    /// no topic is where the broker does not answer.
    pub(super) fn refresh(&self, consumer: &BaseConsumer<SourceContext>) -> impl Fn(i32) -> bool + use<> {
        let found = self.ask(consumer);
        let mut known = self.known.lock();
        let changed: Vec<bool> = known.iter().zip(&found).map(|(known, found)| differ(*known, *found)).collect();
        for (known, found) in known.iter_mut().zip(found) {
            *known = found.or(*known);
        }
        let topics = self.topics.clone();
        move |key| changed[topics.index_of(key)]
    }

    /// Whether one of the topics is another one than before. What is known stays as it is.
    pub(super) fn have_changed(&self, consumer: &BaseConsumer<SourceContext>) -> bool {
        let found = self.ask(consumer);
        self.known.lock().iter().zip(found).any(|(known, found)| differ(*known, found))
    }

    fn ask(&self, consumer: &BaseConsumer<SourceContext>) -> Vec<Option<TopicId>> {
        let names = self.topics.names();
        let unknown = vec![None; names.len()];
        let mut unanswered = self.unanswered.lock();
        if unanswered.is_some_and(|since| since.elapsed() < PAUSE) {
            return unknown;
        }
        let found = topic_ids(consumer.client(), &names, LONGEST);
        *unanswered = found.is_err().then(Instant::now);
        found.unwrap_or_else(|error| {
            tracing::debug!(topic = &**self.topics.base(), %error, "topic ids are not known");
            unknown
        })
    }
}

/// Whether both ids are known and of different topics.
pub(super) fn differ(one: Option<TopicId>, other: Option<TopicId>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}

//! The topics of one source: one, or those of the lanes of an edge. Everything that a source keeps of a partition is kept
//! under one number, its *key*: with one topic the partition's own, with lanes a number for each pair of topic and
//! partition.

use std::sync::Arc;

use forebay_contract::Lane;
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{TopicPartitionList, TopicPartitionListElem};
use rdkafka::{Message, Offset};

/// The topics, in the order of [`Lane::ALL`] where there are lanes.
#[derive(Clone, Debug)]
pub(crate) struct SourceTopics(Arc<[Arc<str>]>);

impl SourceTopics {
    /// A topic without lanes.
    pub(crate) fn one(topic: &str) -> Self {
        Self([topic.into()].into())
    }

    /// The lanes of the edge with this topic.
    pub(crate) fn lanes(topic: &str) -> Self {
        Self(Lane::ALL.map(|lane| lane.topic(topic).into()).into())
    }

    pub(crate) fn has_lanes(&self) -> bool {
        self.0.len() > 1
    }

    /// The topic of the normal lane, by which the source is known.
    pub(crate) fn base(&self) -> &Arc<str> {
        let index = if self.has_lanes() { Lane::Normal.index() } else { 0 };
        &self.0[index]
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.0.iter().map(|topic| &**topic).collect()
    }

    /// The key of a partition. A topic that is not of this source has the keys of the first one.
    pub(super) fn key(&self, topic: &str, partition: i32) -> i32 {
        partition * self.count() + self.index(topic) as i32
    }

    pub(super) fn key_of(&self, message: &impl Message) -> i32 {
        if self.has_lanes() { self.key(message.topic(), message.partition()) } else { message.partition() }
    }

    /// Topic and partition of a key.
    pub(super) fn of(&self, key: i32) -> (&str, i32) {
        (self.topic(key), key.div_euclid(self.count()))
    }

    /// The topic of a key.
    pub(super) fn topic(&self, key: i32) -> &Arc<str> {
        &self.0[self.index_of(key)]
    }

    /// The place of a key's topic among [`SourceTopics::names`].
    pub(super) fn index_of(&self, key: i32) -> usize {
        key.rem_euclid(self.count()) as usize
    }

    /// The lane of a key.
    pub(super) fn lane(&self, key: i32) -> Lane {
        if self.has_lanes() { Lane::ALL[self.index_of(key)] } else { Lane::Normal }
    }

    /// The keys of a list.
    pub(super) fn keys(&self, list: &TopicPartitionList) -> Vec<i32> {
        list.elements().iter().map(|element| self.key(element.topic(), element.partition())).collect()
    }

    /// The partitions of `keys`, each once.
    pub(super) fn partitions(&self, keys: &[i32]) -> Vec<i32> {
        let mut partitions: Vec<i32> = keys.iter().map(|key| self.of(*key).1).collect();
        partitions.sort_unstable();
        partitions.dedup();
        partitions
    }

    /// The partitions of `keys` as a log shows them: their numbers, with lanes beside their topics.
    pub(super) fn shown(&self, keys: &[i32]) -> String {
        match self.has_lanes() {
            true => format!("{:?}", keys.iter().map(|key| self.of(*key)).collect::<Vec<_>>()),
            false => format!("{keys:?}"),
        }
    }

    /// A list of partitions without offsets.
    pub(super) fn list(&self, keys: &[i32]) -> TopicPartitionList {
        let mut list = TopicPartitionList::with_capacity(keys.len());
        keys.iter().for_each(|key| _ = self.add(&mut list, *key));
        list
    }

    /// Adds a partition to a list.
    pub(super) fn add<'a>(&self, list: &'a mut TopicPartitionList, key: i32) -> TopicPartitionListElem<'a> {
        let (topic, partition) = self.of(key);
        list.add_partition(topic, partition)
    }

    /// Adds a partition with an offset.
    pub(super) fn add_offset(&self, list: &mut TopicPartitionList, key: i32, offset: Offset) -> KafkaResult<()> {
        let (topic, partition) = self.of(key);
        list.add_partition_offset(topic, partition, offset)
    }

    /// The element of a key.
    pub(super) fn find<'a>(&self, list: &'a TopicPartitionList, key: i32) -> Option<TopicPartitionListElem<'a>> {
        let (topic, partition) = self.of(key);
        list.find_partition(topic, partition)
    }

    fn index(&self, topic: &str) -> usize {
        self.0.iter().position(|known| **known == *topic).unwrap_or_default()
    }

    fn count(&self) -> i32 {
        self.0.len() as i32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_one_topic_the_key_is_the_partition() {
        let topics = SourceTopics::one("t");
        assert_eq!((topics.key("t", 7), topics.of(7), topics.lane(7)), (7, ("t", 7), Lane::Normal));
        assert_eq!((&**topics.base(), topics.shown(&[7, 8])), ("t", "[7, 8]".to_owned()));
    }

    #[test]
    fn with_lanes_every_pair_has_its_key() {
        let topics = SourceTopics::lanes("t");
        let mut keys = Vec::new();
        for lane in Lane::ALL {
            for partition in 0..4 {
                let key = topics.key(&lane.topic("t"), partition);
                assert_eq!((topics.of(key), topics.lane(key)), ((lane.topic("t").as_str(), partition), lane));
                assert!(!keys.contains(&key));
                keys.push(key);
            }
        }
        assert_eq!((&**topics.base(), topics.partitions(&keys)), ("t", vec![0, 1, 2, 3]));
        assert_eq!(topics.keys(&topics.list(&keys)), keys);
        assert_eq!(topics.shown(&keys[..2]), r#"[("t.high", 0), ("t.high", 1)]"#);
    }
}

//! What an operator does to topics.

use std::time::Duration;

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::{Offset, TopicPartitionList};

use crate::error::LoadtestError;
use crate::mesh_under_test::{BROKER_TIMEOUT, client_config};

/// A partition, and who has it.
#[derive(Debug)]
pub(crate) struct PartitionState {
    pub(crate) id: i32,
    /// Node id; negative without a leader.
    pub(crate) leader: i32,
    pub(crate) replicas: usize,
    /// Node ids.
    pub(crate) in_sync: Vec<i32>,
}

/// An administrator's client.
pub(crate) struct TopicAdmin {
    client: AdminClient<DefaultClientContext>,
    runtime: tokio::runtime::Runtime,
    options: AdminOptions,
}

impl TopicAdmin {
    pub(crate) fn new(brokers: &str) -> Result<Self, LoadtestError> {
        let client = client_config(brokers).create().map_err(LoadtestError::kafka("create admin client"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(LoadtestError::system("start a runtime"))?;
        let options = AdminOptions::new().operation_timeout(Some(BROKER_TIMEOUT)).request_timeout(Some(BROKER_TIMEOUT));
        Ok(Self { client, runtime, options })
    }

    pub(crate) fn create(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) -> Result<(), LoadtestError> {
        self.create_with(NewTopic::new(topic, partitions, TopicReplication::Fixed(1)), settings)
    }

    /// Creates a topic whose partitions are on these brokers each.
    pub(crate) fn create_on(
        &self,
        topic: &str,
        replicas: &[&[i32]],
        settings: &[(&str, &str)],
    ) -> Result<(), LoadtestError> {
        let partitions = i32::try_from(replicas.len()).unwrap_or(i32::MAX);
        self.create_with(NewTopic::new(topic, partitions, TopicReplication::Variable(replicas)), settings)
    }

    fn create_with<'a>(&self, mut new: NewTopic<'a>, settings: &'a [(&str, &str)]) -> Result<(), LoadtestError> {
        let topic = new.name;
        for (key, value) in settings {
            new = new.set(key, value);
        }
        let done = self.runtime.block_on(self.client.create_topics([&new], &self.options));
        check(done.map_err(LoadtestError::kafka(format!("create {topic}")))?)
    }

    /// The partitions of `topic`, or of all topics, as the brokers know them.
    pub(crate) fn partitions(&self, topic: Option<&str>) -> Result<Vec<PartitionState>, LoadtestError> {
        let metadata = self.client.inner().fetch_metadata(topic, BROKER_TIMEOUT);
        let metadata = metadata.map_err(LoadtestError::kafka("read metadata"))?;
        let states = metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| PartitionState {
            id: partition.id(),
            leader: partition.leader(),
            replicas: partition.replicas().len(),
            in_sync: partition.isr().to_vec(),
        });
        Ok(states.collect())
    }

    /// The end of a partition.
    pub(crate) fn end(&self, topic: &str, partition: i32) -> Result<i64, LoadtestError> {
        let ends = self.client.inner().fetch_watermarks(topic, partition, BROKER_TIMEOUT);
        ends.map(|(_, end)| end).map_err(LoadtestError::kafka(format!("end of {topic}")))
    }

    pub(crate) fn delete(&self, topics: &[&str]) -> Result<(), LoadtestError> {
        let done = self.runtime.block_on(self.client.delete_topics(topics, &self.options));
        check(done.map_err(LoadtestError::kafka("delete topics"))?)?;
        // the broker forgets a topic a moment after it said so
        std::thread::sleep(Duration::from_millis(500));
        Ok(())
    }

    pub(crate) fn grow(&self, topic: &str, partitions: usize) -> Result<(), LoadtestError> {
        let new = [NewPartitions::new(topic, partitions)];
        let done = self.runtime.block_on(self.client.create_partitions(&new, &self.options));
        check(done.map_err(LoadtestError::kafka(format!("add partitions to {topic}")))?)
    }

    /// Gives a topic these settings, and the defaults for all others.
    pub(crate) fn configure(&self, topic: &str, settings: &[(&str, &str)]) -> Result<(), LoadtestError> {
        let mut change = AlterConfig::new(ResourceSpecifier::Topic(topic));
        for (key, value) in settings {
            change = change.set(key, value);
        }
        let done = self.runtime.block_on(self.client.alter_configs([&change], &self.options));
        let wrong = |code| LoadtestError::Input(format!("settings of {topic}: {code}"));
        for result in done.map_err(LoadtestError::kafka(format!("settings of {topic}")))? {
            result.map_err(|(_, code)| wrong(code))?;
        }
        Ok(())
    }

    /// Removes the records before these offsets, as retention does.
    pub(crate) fn delete_before(&self, topic: &str, offsets: &[(i32, i64)]) -> Result<(), LoadtestError> {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            let offset = Offset::Offset(*offset);
            list.add_partition_offset(topic, *partition, offset).map_err(LoadtestError::kafka(topic))?;
        }
        let done = self.runtime.block_on(self.client.delete_records(&list, &self.options));
        done.map(|_| ()).map_err(LoadtestError::kafka(format!("delete records of {topic}")))
    }
}

fn check(results: Vec<Result<String, (String, rdkafka::error::RDKafkaErrorCode)>>) -> Result<(), LoadtestError> {
    for result in results {
        result.map_err(|(name, code)| LoadtestError::Input(format!("topic {name}: {code}")))?;
    }
    Ok(())
}

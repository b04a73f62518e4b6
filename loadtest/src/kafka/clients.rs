//! Consumers and producers, with the settings that the measurements rest on.

use std::time::Duration;

use clap::Args;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{ProducerContext, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::error::LoadtestError;

/// How long metadata and administration may take.
pub(crate) const ADMIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Which broker.
#[derive(Debug, Clone, Args)]
pub struct BrokerArgs {
    /// Kafka bootstrap servers
    #[arg(long, env = "FOREBAY__KAFKA__BROKERS", default_value = "127.0.0.1:9092")]
    pub brokers: String,
    /// A librdkafka setting for every client of the generator, e.g. security.protocol=ssl. May be given several times
    #[arg(long = "kafka-option", value_name = "KEY=VALUE")]
    pub options: Vec<String>,
}

/// Where a consumer starts to read a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StartOffset {
    Beginning,
    End,
}

/// What a consumer's fetches are tuned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FetchMode {
    /// Low latency: a fetch returns as soon as there is a record.
    AtOnce,
    /// Few requests: a fetch waits until there is 100 kB.
    InBulk,
}

impl BrokerArgs {
    pub(crate) fn config(&self) -> Result<ClientConfig, LoadtestError> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("socket.nagle.disable", "true");
        for option in &self.options {
            let pair = option.split_once('=');
            let (key, value) =
                pair.ok_or_else(|| LoadtestError::Input(format!("--kafka-option {option:?}: expected KEY=VALUE")))?;
            config.set(key, value);
        }
        Ok(config)
    }

    /// A consumer outside any group's rebalancing; `group` matters only where offsets are read or written.
    pub(crate) fn consumer(&self, group: &str, fetch: FetchMode) -> Result<BaseConsumer, LoadtestError> {
        let (min, wait) = if fetch == FetchMode::AtOnce { ("1", "50") } else { ("100000", "50") };
        let mut config = self.config()?;
        config.set("group.id", group).set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
        config.set("fetch.min.bytes", min).set("fetch.wait.max.ms", wait).set("fetch.queue.backoff.ms", "2");
        config.create().map_err(LoadtestError::kafka("create consumer"))
    }

    /// A consumer that has every partition of `topic` assigned, from concrete offsets: whatever is written from now on
    /// is read.
    pub(crate) fn assigned(
        &self,
        topic: &str,
        from: StartOffset,
        fetch: FetchMode,
    ) -> Result<BaseConsumer, LoadtestError> {
        let consumer = self.consumer("forebay-loadtest", fetch)?;
        let mut list = TopicPartitionList::new();
        for (partition, low, high) in watermarks(&consumer, topic)? {
            let offset = if from == StartOffset::Beginning { low } else { high };
            list.add_partition_offset(topic, partition, Offset::Offset(offset)).map_err(LoadtestError::kafka(topic))?;
        }
        consumer.assign(&list).map_err(LoadtestError::kafka(format!("assign {topic}")))?;
        Ok(consumer)
    }

    /// An idempotent producer: its own retries must not look like the system's duplicates.
    pub(crate) fn producer<C>(&self, linger_ms: u32, context: C) -> Result<ThreadedProducer<C>, LoadtestError>
    where
        C: ProducerContext + 'static,
    {
        let mut config = self.config()?;
        config.set("enable.idempotence", "true").set("acks", "all").set("linger.ms", linger_ms.to_string());
        config.set("queue.buffering.max.messages", "500000").set("queue.buffering.max.kbytes", "524288");
        config.set("batch.num.messages", "10000").set("delivery.timeout.ms", "30000");
        config.create_with_context(context).map_err(LoadtestError::kafka("create producer"))
    }
}

/// The partitions of `topic` with their low and high watermarks.
pub(crate) fn watermarks(consumer: &BaseConsumer, topic: &str) -> Result<Vec<(i32, i64, i64)>, LoadtestError> {
    let offsets = |partition: i32| {
        let marks = consumer.fetch_watermarks(topic, partition, ADMIN_TIMEOUT);
        marks.map(|(low, high)| (partition, low, high)).map_err(LoadtestError::kafka(format!("offsets of {topic}")))
    };
    (0..partitions(consumer, topic)?).map(offsets).collect()
}

/// How many partitions `topic` has; a topic that does not exist is an error that says how to make it.
pub(crate) fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<i32, LoadtestError> {
    let metadata = consumer.fetch_metadata(Some(topic), ADMIN_TIMEOUT);
    let metadata = metadata.map_err(LoadtestError::kafka(format!("metadata of {topic}")))?;
    let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
    if count == 0 {
        let hint = format!("create it with `forebay topics create` or `forebay-loadtest topics create {topic}`");
        return Err(LoadtestError::Input(format!("topic {topic} does not exist; {hint}")));
    }
    Ok(i32::try_from(count).unwrap_or(i32::MAX))
}

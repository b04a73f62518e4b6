//! A check of the topics that clients write: what they hold must not grow without bound when it is read.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, ResourceSpecifier};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::client::{Client, LARGEST_RESPONSE, Quiet};
use super::topics::UNCOMPRESSED;

/// Longest time for asking the broker.
pub(super) const DESCRIBE: Duration = Duration::from_secs(5);

/// Topics of clients that a stage reads and that have not been checked yet. Clones are one list.
#[derive(Clone, Debug, Default)]
pub(crate) struct ForeignTopics {
    unchecked: Arc<Mutex<Vec<Unchecked>>>,
}

#[derive(Clone, Debug)]
struct Unchecked {
    topic: Arc<str>,
    /// Whether the broker has been tried, without an answer.
    tried: bool,
}

impl ForeignTopics {
    /// Has `topic` checked.
    pub(crate) fn add(&self, topic: &str) {
        self.unchecked.lock().push(Unchecked { topic: topic.into(), tried: false });
    }

    /// Whether there is one that has not been tried.
    pub(crate) fn has_new(&self) -> bool {
        self.unchecked.lock().iter().any(|topic| !topic.tried)
    }

    /// Warns of topics whose settings leave the size of records in memory unbounded. A topic is checked once; without an
    /// answer, again with the next call.
    pub(crate) fn check(&self, client: &Client) {
        let unchecked = self.unchecked.lock().clone();
        for Unchecked { topic, .. } in unchecked {
            let done = match describe(client, &topic) {
                Ok(settings) => {
                    warn(&topic, &settings);
                    true
                }
                Err(KafkaError::AdminOp(RDKafkaErrorCode::TopicAuthorizationFailed)) => {
                    tracing::info!(
                        topic = &*topic,
                        "no right to describe the settings of the topic, they are not checked"
                    );
                    true
                }
                Err(error) => {
                    tracing::debug!(topic = &*topic, %error, "the settings of the topic are not known yet");
                    false
                }
            };
            let mut all = self.unchecked.lock();
            all.retain(|known| known.topic != topic || !done);
            all.iter_mut().filter(|known| known.topic == topic).for_each(|known| known.tried = true);
        }
    }
}

fn describe(client: &Client, topic: &str) -> Result<ConfigResource, KafkaError> {
    let admin: AdminClient<Quiet> = client.admin().create_with_context(Quiet::default())?;
    let options = AdminOptions::new().operation_timeout(Some(DESCRIBE)).request_timeout(Some(DESCRIBE));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
    let topics = [ResourceSpecifier::Topic(topic)];
    let described = runtime.block_on(admin.describe_configs(&topics, &options))?;
    let settings = described.into_iter().next().ok_or_else(|| KafkaError::AdminOpCreation("no answer".to_owned()))?;
    settings.map_err(KafkaError::AdminOp)
}

fn warn(topic: &str, settings: &ConfigResource) {
    let value = |name: &str| settings.get(name).and_then(|entry| entry.value.as_deref());
    if let Some(compression) = value("compression.type").filter(|compression| may_grow(compression)) {
        let remedy = format!("kafka-configs --alter --topic {topic} --add-config compression.type={UNCOMPRESSED}");
        tracing::warn!(
            topic,
            compression,
            remedy,
            "topic may hold compressed records, whose size in memory is not bounded"
        );
    }
    if let Some(largest) = value("max.message.bytes").and_then(|largest| largest.parse::<usize>().ok())
        && largest > LARGEST_RESPONSE
    {
        let readable = LARGEST_RESPONSE;
        tracing::warn!(
            topic,
            largest,
            readable,
            "topic takes records that are too large to be read; lower max.message.bytes"
        );
    }
}

/// Whether a topic with this `compression.type` can hold records that grow when they are read.
fn may_grow(compression: &str) -> bool {
    compression != UNCOMPRESSED
}

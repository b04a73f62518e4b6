//! Creates the topics, and checks those that exist.

use std::time::{Duration, Instant};

use forebay_contract::Lane;
use forebay_contract::edges::{EDGES, EdgeSpec, Retention};
use forebay_runtime::TopicSettings;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;

use super::client::{Client, Quiet};

const BROKER: Duration = Duration::from_secs(15);
const STEP: Duration = Duration::from_secs(2);
/// Time for error callbacks between two steps.
const ERRORS: Duration = Duration::from_millis(100);
/// Compaction within ten minutes. By default a segment is compacted when it is a week old, and a starting reader would
/// read a week of heartbeats; the setting makes the broker close segments in time as well.
const COMPACTED: &str = "600000";

/// The broker checks the size of a batch as it stores it, so what is stored uncompressed cannot grow at its reader.
pub(super) const UNCOMPRESSED: &str = "uncompressed";

/// Why topics could not be created.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// The broker does not answer or rejects this client, or the client cannot be created.
    #[error("kafka at {brokers}: {why}")]
    Kafka {
        /// Bootstrap servers.
        brokers: String,
        /// The broker's reason where there is one, else the client's.
        why: String,
    },
    /// The broker refuses a topic.
    #[error("topic {topic} cannot be created: {code}")]
    Refused {
        /// The topic.
        topic: String,
        /// The broker's code.
        code: RDKafkaErrorCode,
    },
}

/// Whether a topic was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicReport {
    /// It was created now, with this number of partitions.
    Created(i32),
    /// It exists, with this number of partitions.
    Exists(i32),
}

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedTopic {
    /// Its name.
    pub name: String,
    /// How long records are kept.
    pub retention: Retention,
    /// Whether the broker stamps its records.
    pub broker_time: bool,
    /// Whether the broker keeps its records uncompressed, whatever the producer sends.
    pub uncompressed: bool,
}

/// The name that settings give to the topic of an edge.
pub fn topic_name<'a>(settings: &'a TopicSettings, edge: &EdgeSpec) -> &'a str {
    let named = |(key, _): &(&str, &str)| key.strip_prefix("topics.") == Some(edge.topic.setting);
    settings.all().into_iter().find(named).map_or(edge.topic.name, |(_, name)| name)
}

/// Every topic of the mesh by the name that settings give it, in data-path order; with `lanes` those of the lanes too.
pub fn planned_topics(settings: &TopicSettings, lanes: bool) -> Vec<PlannedTopic> {
    let planned = |edge: &EdgeSpec| {
        let (retention, broker_time, uncompressed) =
            (edge.topic.retention, edge.has_broker_time(), edge.is_uncompressed());
        let names = lane_topics(topic_name(settings, edge), lanes && edge.has_lanes());
        names.into_iter().map(move |name| PlannedTopic { name, retention, broker_time, uncompressed })
    };
    EDGES.iter().flat_map(planned).collect()
}

/// The topics of an edge by lane, or its only one.
pub(crate) fn lane_topics(topic: &str, lanes: bool) -> Vec<String> {
    if lanes { Lane::ALL.map(|lane| lane.topic(topic)).into() } else { vec![topic.to_owned()] }
}

/// Creates the topics that are missing and reports every one, in the order given. Existing topics are not changed.
///
/// # Errors
/// When the broker does not answer within 15 seconds or refuses a topic.
pub fn create_topics(
    client: &Client,
    topics: &[PlannedTopic],
    partitions: i32,
    replication: i32,
) -> Result<Vec<(String, TopicReport)>, TopicError> {
    let quiet = Quiet::default();
    let failed = |error: KafkaError| TopicError::Kafka {
        brokers: client.settings().brokers.clone(),
        why: quiet.auth_failure.explain(&error),
    };
    let metadata = all_topics(client, &quiet).map_err(failed)?;
    let admin: AdminClient<Quiet> = client.admin().create_with_context(quiet.clone()).map_err(failed)?;
    let existing = |name: &str| {
        let found = metadata.topics().iter().find(|topic| topic.name() == name && topic.error().is_none());
        found.map(|topic| i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX))
    };
    let retention: Vec<String> = topics
        .iter()
        .map(|topic| match topic.retention {
            Retention::Millis(ms) => ms.to_string(),
            Retention::Compacted => String::new(),
        })
        .collect();
    let missing: Vec<NewTopic<'_>> = topics
        .iter()
        .zip(&retention)
        .filter(|(planned, _)| existing(&planned.name).is_none())
        .map(|(planned, ms)| {
            let topic = NewTopic::new(&planned.name, partitions, TopicReplication::Fixed(replication));
            let topic = match planned.retention {
                Retention::Millis(_) => topic.set("retention.ms", ms),
                Retention::Compacted => topic.set("cleanup.policy", "compact").set("max.compaction.lag.ms", COMPACTED),
            };
            let topic = if planned.broker_time { topic.set("message.timestamp.type", "LogAppendTime") } else { topic };
            if planned.uncompressed { topic.set("compression.type", UNCOMPRESSED) } else { topic }
        })
        .collect();
    let made = if missing.is_empty() { Vec::new() } else { wait(&admin, &missing).map_err(failed)? };
    for result in made {
        match result {
            // another replica was faster
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(TopicError::Refused { topic, code }),
        }
    }
    let report = |topic: &PlannedTopic| {
        let report = existing(&topic.name).map_or(TopicReport::Created(partitions), TopicReport::Exists);
        (topic.name.clone(), report)
    };
    Ok(topics.iter().map(report).collect())
}

/// Metadata of every topic. Returns early when the broker has rejected this client.
fn all_topics(client: &Client, quiet: &Quiet) -> Result<Metadata, KafkaError> {
    // a consumer, because polling it serves the error callback
    let consumer: BaseConsumer<Quiet> = client.reader_of_partitions().create_with_context(quiet.clone())?;
    let deadline = Instant::now() + BROKER;
    loop {
        let error = match consumer.fetch_metadata(None, STEP) {
            Ok(metadata) => return Ok(metadata),
            Err(error) => error,
        };
        // polling serves the callback; errors keep coming, so the loop ends by the clock
        let since = Instant::now();
        while since.elapsed() < ERRORS {
            consumer.poll(ERRORS / 10);
        }
        if quiet.auth_failure.is_known() || Instant::now() >= deadline {
            return Err(error);
        }
    }
}

fn wait(admin: &AdminClient<Quiet>, missing: &[NewTopic<'_>]) -> Result<Vec<rdkafka::admin::TopicResult>, KafkaError> {
    let options = AdminOptions::new().operation_timeout(Some(BROKER)).request_timeout(Some(BROKER));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
    runtime.block_on(admin.create_topics(missing, &options))
}

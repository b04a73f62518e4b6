//! A mesh of real binaries over real services, started, watched and stopped from here: what the command `faults` and the
//! tests over real services share. Nothing here panics and everything is bounded in time; the tests wrap it in asserts.

pub mod http_client;
mod mesh;
mod native;
mod process;
mod rabbitmq;
mod sample_registry;
mod topic_reader;
mod topic_writer;

pub use mesh::{MESH_TOPICS, MeshUnderTest, STAGES};
pub use native::NativeServices;
pub use process::{MeshProcess, ProcessLaunch, bare_command, free_address};
pub use rabbitmq::{RabbitClient, reply_properties};
pub use sample_registry::{SAMPLE_MODEL, copy_folder, copy_sample_registry};
pub use topic_reader::{TopicReader, TopicRecord};
pub(crate) use topic_writer::place_of;
pub use topic_writer::{DeliveryOutcome, OutgoingRecord, TopicWriter};

use std::time::Duration;

use rdkafka::ClientConfig;

/// How long one call to a broker may take.
pub const BROKER_TIMEOUT: Duration = Duration::from_secs(20);

/// What all Kafka clients of a test have in common.
#[must_use]
pub fn client_config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("broker.address.family", "v4");
    config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "500");
    config.set("topic.metadata.refresh.interval.ms", "1000");
    config
}

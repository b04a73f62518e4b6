//! The Kafka side: the outside topics as any client sees them.

mod clients;
mod delivery_recorder;
mod drain;
mod fill;
mod judge_command;
mod open_loop;
mod reader;
mod throughput;
mod topics;

pub use clients::BrokerArgs;
pub use drain::DrainArgs;
pub use fill::FillArgs;
pub use judge_command::{JudgeArgs, read_topic};
pub use open_loop::KafkaArgs;
pub use throughput::ThroughputArgs;
pub use topics::{TopicSpec, TopicsArgs, create_topics};

pub(crate) use clients::{ADMIN_TIMEOUT, partitions};

#[cfg(test)]
mod tests;

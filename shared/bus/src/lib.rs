//! Edges between stages: at-least-once delivery over Kafka or memory. A stage cannot tell which.
//!
//! # Layout
//! - [`Ack`], [`Delivery`]: the acknowledgement is carried by the work; dropped unanswered it counts as a nack
//! - [`Permits`]: bounds on unfinished work, taken before a record is; [`ModelShares`]: of which one model has a share
//! - [`Outlet`], [`Inlet`]: where a stage sends and receives; memory or Kafka behind the same type
//! - [`StageScope`]: what every stage does with every batch
//! - [`Mesh`], [`Stages`]: the edges of one process, memory or Kafka by the topology
//! - [`kafka`]: sources with a commit watermark, sinks that ack on the delivery report, dead letters, topics
//! - [`amqp`]: a source of requests and a sink for answers over RabbitMQ
//! - [`ModelDirectory`]: which versions models have, and which replicas have them
//! - [`messaging`]: attributes of messaging spans
//! - [`BusSettings`]: Kafka, Event Hubs and RabbitMQ
//! - [`EdgeEvents`]: what edges report to their process

mod ack;
pub mod amqp;
mod backoff;
mod directory;
mod events;
mod host_events;
pub mod kafka;
mod mesh;
pub mod messaging;
mod model_shares;
mod outlet;
mod permits;
mod scope;
mod settings;
mod work_size;

pub use ack::{Ack, AckOutcome, Delivery, RequestRecord};
pub use directory::{EXPIRY, HEARTBEAT, ModelDirectory, ReadyCount, SeenGenerations};
pub use events::{EdgeEvents, NoEvents};
pub use mesh::{EdgePayload, Mesh, Stages};
pub use model_shares::{ModelPermit, ModelShares};
pub use outlet::{Inlet, Outlet};
pub use permits::{Permit, Permits};
pub use scope::{Entered, Spans, StageScope, span_id_of, stage_name, trace_of};
pub use settings::{
    BusSettings, DEFAULTS, EventHubs, KafkaSettings, QueueType, RabbitMqSettings, SchemaSettings, SecurityProtocol,
};

//! Edges between stages: at-least-once over Kafka or memory, and a stage cannot tell which.
//!
//! # Layout
//! - [`Ack`], [`Delivery`]: the acknowledgement travels with the work; dropped unanswered it counts as a nack
//! - [`Permits`]: room for unfinished work, taken before a record is
//! - [`Outlet`], [`Inlet`]: where a stage sends and receives; memory or Kafka behind the same face
//! - [`StageScope`]: what every stage does with every batch
//! - [`kafka`]: sources with a commit watermark, sinks that ack on the delivery report, dead letters, topics
//! - [`rabbit`]: a source of requests and a sink for answers over RabbitMQ
//! - [`Board`]: which versions models have, and which replicas have them
//! - [`EdgeEvents`]: what edges tell the process that runs them

mod ack;
mod board;
mod events;
mod host_events;
pub mod kafka;
mod outlet;
mod permits;
pub mod rabbit;
mod scope;

pub use ack::{Ack, AckOutcome, Delivery};
pub use board::{Board, EXPIRY, HEARTBEAT, Tally};
pub use events::{EdgeEvents, NoEvents};
pub use outlet::{Inlet, Outlet};
pub use permits::{Permit, Permits};
pub use scope::{Entered, Spans, StageScope, span_id_of, stage_name, trace_of};

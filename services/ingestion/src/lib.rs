//! The first stage: requests come in over HTTP, Kafka and RabbitMQ, are understood, and leave in batches. HTTP callers wait here
//! for their answers.
//!
//! # Layout
//! - [`ask`], [`parse`]: what a client asks, and the one parser of it
//! - [`auth`]: who may use the HTTP door, and how much; [`refusal`]: what it answers to others
//! - `tls`: the HTTP door's certificates, read again when they change; `follow`: looking at files
//! - `bound`: limits of requests and of memory
//! - [`admission`]: how a request becomes items: identity, deadline, result partition, trace
//! - [`gathering`]: pacing; when pending items leave as a batch
//! - [`waiters`]: callers that wait, and the rows of their answers
//! - [`records`], [`messages`]: the work of the Kafka and the RabbitMQ door on one record or message
//! - [`doors`]: the HTTP door
//! - `actors`: the ingester (records and messages) and the gatherer (batches), both thin
//! - [`system`]: the wiring

mod actors;
pub mod admission;
pub mod ask;
pub mod auth;
mod bound;
pub mod doors;
mod follow;
pub mod gathering;
pub mod messages;
pub mod parse;
pub mod records;
pub mod refusal;
pub mod settings;
pub mod system;
mod tls;
pub mod waiters;

/// Defaults of this service's settings.
pub const DEFAULTS: forebay_runtime::DefaultSettings =
    forebay_runtime::DefaultSettings { name: "ingestion", toml: include_str!("../settings.toml") };

//! The first stage. Requests arrive over HTTP, Kafka and RabbitMQ, are parsed and leave in batches. HTTP callers wait in
//! this stage for their answers.
//!
//! # Layout
//! - [`http`]: the HTTP server; `grpc`: the gRPC server; [`kafka`] and [`amqp`]: what becomes of one record or message, over [`inbound`]
//! - [`auth`]: who may use the HTTP server, and how much; [`rejection`]: how it answers everyone else
//! - [`request`], [`parse`]: a request as the client meant it, and the one parser for all three entry points
//! - `open_inference`: requests and answers of the Open Inference Protocol; `row_result`: what became of one row
//! - [`admission`]: turns a request into items: identity, deadline, partitions, trace
//! - [`batching`]: when pending items leave as a batch
//! - `async_results`: requests that are answered later
//! - [`pending`]: HTTP requests that wait for their rows
//! - `model_rows`: which models tell `1` from `1.0`, and how wide their rows may be
//! - `record_age`: how long a record has waited in its topic
//! - `net_stream`: the bytes of a connection, with or without TLS
//! - `exposure`: warnings of listeners that other machines can reach
//! - `fuzzing`: what the fuzz targets call
//! - `record_reader`: requests from the values of records; `schemas`: records behind the id of a schema;
//!   `column_paths`: where the columns stand in records that are no requests
//! - `propagation`: what a result has of the record of its request
//! - `periodic`: repeated work on threads that may block
//! - `actors`: the ingester (records and messages) and the batcher, both thin
//! - [`system`]: the wiring

mod actors;
pub mod admission;
pub mod amqp;
mod async_results;
pub mod auth;
pub mod batching;
mod column_paths;
mod exposure;
#[cfg(fuzzing)]
pub mod fuzzing;
mod grpc;
pub mod http;
mod in_work;
pub mod inbound;
pub mod kafka;
mod model_rows;
mod net_stream;
mod open_inference;
pub mod parse;
pub mod pending;
mod periodic;
mod propagation;
mod record_age;
mod record_reader;
pub mod rejection;
pub mod request;
mod row_result;
mod schemas;
pub mod settings;
pub mod system;

pub use model_rows::ModelRows;
pub use propagation::Propagation;
pub use record_reader::RecordReader;
pub use request::Row;
pub use schemas::Schemas;
pub use settings::Settings;

/// Defaults of this service's settings.
pub const DEFAULTS: forebay_runtime::DefaultSettings =
    forebay_runtime::DefaultSettings::new("ingestion", include_str!("../settings.toml"));

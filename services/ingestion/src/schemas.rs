//! Records of the request topic whose value stands behind the id of a schema, as Confluent's serializers write it: a zero
//! byte, the id in four bytes, then Avro or JSON. Only with a schema registry in the settings.
//!
//! # Layout
//! - `avro_schema`: schemas as their JSON says; `avro`: values to JSON, which the one parser of requests reads
//! - `registry`: reads schemas; `known`: those that were read, and records that wait for one

mod avro;
mod avro_schema;
mod known;
mod registry;

pub use known::Schemas;
pub(crate) use known::start;

//! Records of the request topic whose value stands behind the id of a schema, as Confluent's serializers write it: a zero
//! byte, the id in four bytes, then Avro, JSON or Protobuf. Only with a schema registry in the settings.
//!
//! # Layout
//! - `avro_schema`: schemas as their JSON says; `avro`: values to JSON, which the one parser of requests reads
//! - `protobuf`: the same for Protobuf
//! - `byte_reader`, `json_text`: what both read and write
//! - `registry`: reads schemas; `known`: those that were read, and records that wait for one

mod avro;
mod avro_schema;
mod byte_reader;
mod json_text;
mod known;
mod protobuf;
mod registry;

pub use known::Schemas;
pub(crate) use known::{id_in_header, start};

/// The JSON of an Avro value, for the fuzz target.
#[cfg(fuzzing)]
pub(crate) fn avro_json(schema: &str, value: &[u8]) -> Result<Vec<u8>, String> {
    avro::request(&avro_schema::AvroSchema::parse(schema, std::collections::BTreeMap::new())?, value, false)
}

/// The JSON of a Protobuf value, for the fuzz target.
#[cfg(fuzzing)]
pub(crate) fn protobuf_json(schema: &str, value: &[u8]) -> Result<Vec<u8>, String> {
    protobuf::request(&protobuf::compile(schema, &[])?, value, false)
}

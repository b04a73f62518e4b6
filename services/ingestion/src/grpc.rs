//! The gRPC server: the Open Inference Protocol with the calls that Triton adds, health checking and reflection.
//!
//! # Layout
//! - `listener`: the listener, opened and closed; `connection`: its connections, with or without TLS
//! - `service`: the calls; `infer`: requests for inference; `description`: configuration and statistics
//! - `arrival`: calls while they arrive, with their callers, permits and deadlines
//! - `arriving_body`: the bytes of their messages; `message_codec`: counts what a message consists of before it is decoded;
//!   `open_calls`: how many calls are open
//! - `request`, `answer`: messages to and from the types of `open_inference`
//! - `caller`: what the headers of a call say; `status`: errors

mod answer;
mod arrival;
mod arriving_body;
mod caller;
mod connection;
mod description;
mod infer;
mod listener;
mod message_codec;
mod open_calls;
mod request;
mod service;
mod status;

pub use listener::GrpcListener;
pub(crate) use listener::serve;
#[cfg(fuzzing)]
pub(crate) use {proto::ModelInferRequest, request::read as read_infer};

/// The messages, from `proto/`.
#[allow(clippy::all, clippy::too_many_lines, unreachable_pub, missing_debug_implementations, reason = "generated")]
mod proto {
    tonic::include_proto!("inference");

    /// The descriptors of the service, for reflection.
    pub(super) const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/inference.bin"));
}

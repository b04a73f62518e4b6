//! RabbitMQ edges.
//!
//! - [`AmqpSource`]: takes requests from a queue; a message is acknowledged when its work is safe elsewhere
//! - [`AmqpSink`]: sends answers with publisher confirms; what is not confirmed is sent again
//! - `connection`: address, TLS, and the reason when connecting fails
//! - `declare`: the queue of requests
//! - `standing`: what an outage means for the process
//! - `session`: the messages of one connection; `unsettled`: those that are not settled yet
//!
//! Connections are made again here and not by the library: everything that belongs to a connection (delivery tags,
//! unanswered confirms) ends with it, so nothing of an old one can be mistaken for something of a new one.

mod connection;
mod connection_status;
mod declare;
mod message;
mod session;
mod sink;
mod source;
mod unsettled;

pub use message::{AmqpMessage, AmqpMessages, Answer, MessageIdentity, Target};
pub use sink::{AmqpSink, GiveUp};
pub use source::AmqpSource;

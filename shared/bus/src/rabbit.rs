//! RabbitMQ edges.
//!
//! - [`RabbitSource`]: takes requests from a queue; a message is acknowledged when its work is safe elsewhere
//! - [`RabbitSink`]: sends answers with publisher confirms; what is not confirmed is sent again
//! - `connection`: an address, TLS, and what is said when it does not work
//! - `declare`: the queue of requests
//! - `standing`: what an outage means for the process
//! - `session`: the messages of one connection; `hand`: those that are not settled yet
//!
//! Connections are made again here and not by the library: everything that belongs to a connection (delivery tags,
//! unanswered confirms) ends with it, so nothing of an old one can be mistaken for something of a new one.

mod connection;
mod declare;
mod hand;
mod message;
mod pause;
mod session;
mod sink;
mod source;
mod standing;

pub use message::{Answer, RabbitMessage, RabbitMessages, Target};
pub use sink::{GiveUp, RabbitSink};
pub use source::RabbitSource;

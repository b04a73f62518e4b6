//! Kafka edges.
//!
//! - [`Edges`]: the Kafka edges of one stage, opened from settings, drained in order
//! - `assignment`: the partitions of a source, for its assigned consumers
//! - `source`: a group consumer on its own thread; permits before records, a watermark behind acks
//! - `assigned_consumer`: a consumer without a group, for replies and advisory messages
//! - `broker_contact`: finds clients that have lost their brokers for good, so that they are replaced
//! - `producer`: one producer per stage; acks on the delivery report, retries until a deadline
//! - `directory`: the topic `forebay.models` behind a [`crate::ModelDirectory`]
//! - `transactions`: records that are written together with the offsets of what they answer
//! - `offset_tracker`, `watermark`: the records in flight, and the offset that may be committed

mod assigned_consumer;
mod assignment;
mod auth_failure;
pub(crate) mod broker_clock;
mod broker_contact;
mod client;
mod client_queues;
mod dead_letters;
mod directory;
mod edges;
mod ffi;
mod foreign_topics;
mod group_size;
mod offset_tracker;
mod outlet;
mod producer;
mod record;
mod rewind;
mod source;
mod statistics;
mod tail;
mod topic_id;
mod topic_monitor;
mod topics;
mod transactions;
mod watermark;

pub use client::{Client, consumer_group, reader_group};
pub use client_queues::ClientQueues;
pub use dead_letters::{
    DeadLetter, DeadLetterError, DeadLetterPlace, DeadLetterRange, DeadLetters, PurgeUpTo, Replayed, StoredDeadLetter,
    letters_up_to, purge_letters, read_letters, replay_letters,
};
pub use edges::Edges;
pub use group_size::GroupSize;
pub use producer::{OutRecord, RecordSink, SendPass};
pub use record::{RawBatch, RawRecord};
pub use source::{FirstRecord, IntakePace, OnFirst, RawSource, RecordGroup};
pub use tail::{Tail, TailError, TailRange, TailRecord, TailSpec, read_since};
pub use topics::{PlannedTopic, TopicError, TopicReport, create_topics, planned_topics, topic_name};
pub use transactions::{Shorten, TransactionAcks, TransactionSettings, TransactionalSink};

//! Load generation for Forebay, and for anything else with its outside contract: open-loop generators over HTTP and Kafka, a filled-topic
//! throughput test, a bare relay as the floor, and a judge that checks that nothing was lost and nothing answered twice.
//!
//! This crate knows only what clients know: the JSON of the request and result topics, and the HTTP door. It shares no code with the system
//! it measures, so that a mistake cannot be on both sides.
mod answer;
pub mod cli;
mod error;
mod feed;
pub mod http;
mod judge;
pub mod kafka;
mod latency;
mod oracle;
pub mod relay;
mod report;
mod rows;
mod run;
mod schedule;
mod table;
mod tally;
mod usage;

pub use answer::{Answer, AnswerError, Verdict};
pub use error::LoadtestError;
pub use feed::{Feed, FeedOptions};
pub use judge::{Findings, Judge, Rules};
pub use latency::{Latencies, Percentiles};
pub use oracle::{Event, Oracle};
pub use report::{OutputArgs, Report};
pub use rows::Rows;
pub use run::{Owner, RunId};
pub use schedule::Schedule;
pub use table::TableArgs;
pub use tally::Tally;
pub use usage::{Sample, Usage, WatchArgs};

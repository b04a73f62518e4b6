//! Load generation for Forebay, and for any other system with the same interface: open-loop generators over HTTP and
//! Kafka, a filled-topic throughput test, a bare relay as the floor, and a judge that checks that nothing was lost and
//! nothing answered twice.
//!
//! This crate knows only what clients know: the JSON of the request and result topics, and the HTTP endpoint. It shares
//! no code with the system it measures, so that a mistake cannot be on both sides.

mod answer_tally;
pub mod attacks;
pub mod cli;
pub mod conformance;
mod error;
pub mod faults;
pub mod http;
mod judge;
pub mod kafka;
mod latency;
pub mod mesh_under_test;
mod oracle;
mod received_result;
pub mod relay;
mod report;
mod request_generator;
mod run;
mod schedule;
mod table;
mod usage;
mod workload;
mod workload_rows;

pub use answer_tally::AnswerTally;
pub use error::LoadtestError;
pub use judge::{Judge, JudgeFindings, JudgeRules};
pub use latency::{Latencies, Percentiles};
pub use oracle::{Oracle, OracleEvent};
pub use received_result::{ReceivedError, ReceivedResult, ResultStatus};
pub use report::{OutputArgs, Report};
pub use request_generator::{RequestGenerator, RequestOptions};
pub use run::{ResultOwner, RunId};
pub use schedule::Schedule;
pub use table::TableArgs;
pub use usage::{CpuSample, ProcessUsage, WatchArgs};
pub use workload::WorkloadArgs;
pub use workload_rows::WorkloadRows;

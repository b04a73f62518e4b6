//! The publishing stage, the last one: sends the result of each request once, to where the request came from.
//!
//! # Layout
//! - [`system`]: the wiring
//! - [`settings`]: the section `[results]`
//! - `actors/publisher.rs`: the one actor
//! - `dispatcher.rs`: the path of an outcome: deduplicated, then sent to its destinations
//! - `pending.rs`, `delivery_tracker.rs`: a result before it is sent, and until it is confirmed
//! - `revocations.rs`: results of partitions that another replica has now
//! - `dedupe.rs`: finds duplicates. `dedupe/window.rs` and `expiring_ids.rs` hold the ids of sent results,
//!   `dedupe/coverage.rs` what the window knows, `idempotency.rs` the answers under an `Idempotency-Key`
//! - [`rebuild`] fills the window after a take-over and [`lookup`] for results that are older than it, both from the
//!   result topic ([`result_log`]); `replied.rs` finds earlier replies over RabbitMQ
//! - [`kafka_results`], [`amqp_results`], [`mod@format`]: results on the result topic and over RabbitMQ, and their JSON
//! - [`result_schema`]: results behind the id of a schema
//! - `slow_requests.rs`, `metrics.rs`: reports of slow and failed requests, counters

mod actors;
pub mod amqp_results;
mod dedupe;
mod delivery_tracker;
mod dispatcher;
mod expiring_ids;
pub mod format;
mod idempotency;
pub mod kafka_results;
pub mod lookup;
mod metrics;
mod pending;
pub mod rebuild;
mod replied;
pub mod result_log;
pub mod result_schema;
pub mod revocations;
pub mod settings;
mod slow_requests;
pub mod system;

pub use settings::Settings;

use forebay_runtime::DefaultSettings;

/// The service's settings with their defaults.
pub const DEFAULTS: DefaultSettings = DefaultSettings::new("publishing", include_str!("../settings.toml"));

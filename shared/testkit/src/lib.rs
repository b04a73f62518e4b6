//! What the tests of several crates share. It is only ever a dev-dependency.
//!
//! - [`context()`], [`kafka`], [`http`], [`amqp`]: builders of a request's context, and of items that carry it
//! - [`answer`], [`failure`], [`results`]: outcomes of prediction, and a batch of them
//! - [`probe`]: outlets whose batches a test receives, and deliveries whose acknowledgement it receives
//! - [`settings`]: settings read from defaults, a text and flags, as a process reads them
//! - [`collector`]: an OpenTelemetry collector in the test process
//! - [`registry`]: a model registry in a folder, written by scikit-learn
//! - `judge` (feature `models`): model folders against what their origin predicts
//! - [`metric_table`]: the table in `docs/metrics.md`, and what a scrape shows
//! - [`wait_until`], [`wait_until_async`]: waiting for what another thread or process does
//!
//! Unit tests of contract, bus and runtime are compiled against another instance of their own crate than this one is;
//! there, types of the crate under test do not unify with the types that this crate gives out.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic fails the test")]

pub mod collector;
mod context;
#[cfg(feature = "models")]
pub mod judge;
pub mod metric_table;
mod outcome;
pub mod probe;
pub mod registry;
mod settings;
mod wait;

pub use context::{ContextBuilder, amqp, context, http, kafka};
pub use outcome::{answer, failure, results};
pub use settings::{SettingsSources, settings};
pub use wait::{wait_until, wait_until_async};

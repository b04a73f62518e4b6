//! The prediction stage: answers each row with the version pinned for it, or with the next version of its fallback
//! chain.
//!
//! # Layout
//! - [`system`]: the wiring
//! - [`Settings`]: the section `[prediction]`
//! - [`Versions`], [`Version`]: the loaded versions, which a thread keeps up to date with the registry
//! - [`Inference`]: answers one group of rows with the versions of its fallback chain
//! - `loader`, `report`: the thread that loads versions, and what it reports to the model directory
//! - `queue`, `slow_queue`, `work`, `deliveries`: the rows that wait, their order, and the deliveries they belong to
//! - `row_batch`, `answer`: rows as a model takes them, and what an answer holds
//! - `shadow`: versions that score the same rows for comparison
//! - `actors`: the one actor, which moves batches between the edges and `work`

mod actors;
mod answer;
mod deliveries;
#[cfg(test)]
mod fakes;
mod infer;
mod loader;
mod loader_commands;
mod metrics;
mod model_call;
mod priority;
mod queue;
mod report;
mod row_batch;
mod settings;
mod shadow;
mod share;
mod slow_queue;
mod slowed_for_test;
pub mod system;
mod trace;
mod version;
mod versions;
mod work;

pub use answer::{check_output, no_answer, row_score};
pub use infer::{Inference, PinnedVersion, RowResult};
pub use metrics::ModelMetrics;
pub use row_batch::model_value;
pub use settings::{PredictionSettings, Settings, Warm};
pub use version::Version;
pub use versions::{VersionLookup, Versions};

/// Defaults of this service's settings.
pub const DEFAULTS: forebay_runtime::DefaultSettings =
    forebay_runtime::DefaultSettings::new("prediction", include_str!("../settings.toml"));

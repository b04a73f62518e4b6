//! The prediction stage: answers each row with the version pinned for it, or with the next version of its fallback chain.
//!
//! # Layout
//! - [`system`]: the wiring
//! - [`Settings`]: the section `[prediction]`
//! - [`Versions`], [`Version`]: what is loaded, kept equal to the registry by a thread
//! - [`Inference`]: one group of rows through its chain of versions
//! - `load`, `report`: the thread that loads versions, and what it tells the model directory of models and replicas
//! - `queue`, `work`, `deliveries`: what waits, in which order, and which delivery it belongs to
//! - `shadow`: versions that score the same rows for comparison
//! - `actors`: the one actor, which moves batches between the edges and the above

mod actors;
mod call;
mod deliveries;
#[cfg(test)]
mod fakes;
mod infer;
mod load;
mod metrics;
mod priority;
mod queue;
mod registry;
mod report;
mod settings;
mod shadow;
pub mod system;
mod trace;
mod version;
mod versions;
mod work;

pub use infer::{Inference, Pinned, Verdict};
pub use metrics::ModelMetrics;
pub use registry::registry_options;
pub use settings::{Prediction, Settings, Warm};
pub use version::Version;
pub use versions::{Found, Versions};

/// Defaults of this service's settings.
pub const DEFAULTS: forebay_runtime::DefaultSettings =
    forebay_runtime::DefaultSettings { name: "prediction", toml: include_str!("../settings.toml") };

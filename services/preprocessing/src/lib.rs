//! The preprocessing stage: validates a row, pins the version that will answer it, and prepares the row as that version
//! takes it. It reads the files beside a model and never the model itself.
//!
//! # Layout
//! - [`system`]: the wiring; `outlets`: the edges that the stage sends to
//! - [`Settings`]: the sections `[preprocessing]` and `[features]`
//! - [`ModelCatalog`], [`CatalogSnapshot`]: the versions of the registry, compiled for the hot path and swapped as a whole
//! - [`TrafficSplit`]: shares of the requests that name no version
//! - `refresh`: the thread that follows the registry and the model directory
//! - `promotion`: when a new Production version takes effect
//! - `reported`: what the prediction replicas report of versions
//! - [`ServedVersion`]: what one version takes: names, order, missing values, ranges, its preprocessing artefact, its
//!   cache keys
//! - [`AnswerRules`]: what its answers hold, and the parameters that a request may repeat
//! - [`RowShape`], [`RowRules`]: the checks of a row; [`convert`]: what a value becomes in a column
//! - [`prepare`]: one batch of requests through a snapshot
//! - `actors`: the one actor, which moves batches between the edges and the above

mod actors;
mod answer_rules;
mod catalog;
mod outlets;
mod prepare;
mod promotion;
mod refresh;
mod reported;
mod row;
mod served_version;
mod settings;
pub mod system;
mod traffic_split;

pub use answer_rules::AnswerRules;
pub use catalog::{CatalogPolicy, CatalogSnapshot, ListedModel, ModelCatalog, ResolvedVersion};
pub use prepare::prepare;
pub use row::{CheckedRow, ConversionError, RowRules, RowShape, convert, convert_cell, near_name};
pub use served_version::{DescribedVersion, ServedVersion};
pub use settings::{ExtraColumns, FeatureSettings, MissingValues, PreprocessingSettings, Settings};
pub use traffic_split::TrafficSplit;

/// Defaults of this service's settings.
pub const DEFAULTS: forebay_runtime::DefaultSettings =
    forebay_runtime::DefaultSettings::new("preprocessing", include_str!("../settings.toml"));

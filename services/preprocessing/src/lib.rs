//! The preprocessing stage: validates a row, pins the version that will answer it, and prepares the row as that version
//! wants it.
//!
//! # Layout
//! - [`system`]: the wiring; `outlets`: the edges that the stage sends to
//! - [`Settings`]: the section `[preprocessing]`
//! - [`Catalog`], [`Table`]: the versions of the registry, compiled for the hot path and swapped as a whole
//! - [`Split`]: shares of the requests that ask for no version
//! - `refresh`, `gate`: the thread that follows the registry, and when a moved Production takes effect
//! - [`Plan`]: what one version takes: names, order, missing values, ranges, its preprocessing artefact, its cache keys
//! - [`prepare`]: one batch of requests through the table
//! - `actors`: the one actor, which moves batches between the edges and the above

mod actors;
mod catalog;
mod gate;
mod outlets;
mod plan;
mod prepare;
mod refresh;
mod registry;
mod row;
mod settings;
mod split;
pub mod system;
mod table;

pub use catalog::Catalog;
pub use plan::Plan;
pub use prepare::prepare;
pub use row::{RowShape, Rules};
pub use settings::{Missing, Preprocessing, Settings};
pub use split::Split;
pub use table::{Choice, Listed, Policy, Table};

/// Defaults of this service's settings.
pub const DEFAULTS: forebay_runtime::DefaultSettings =
    forebay_runtime::DefaultSettings { name: "preprocessing", toml: include_str!("../settings.toml") };

//! `forebay`: the whole mesh in one process, and the operator's command line.
//!
//! # Layout
//! - `arguments`: what can be asked
//! - `commands`: one file per answer: up, predict, topics, models, dead-letters, config
//! - `stages`: which stages run here, and which edges between them are memory
//! - `settings`: the settings of all five services, read once
//! - `system`: the wiring of the stages that run here

mod arguments;
mod banner;
mod commands;
mod settings;
mod stages;
mod system;

pub use arguments::Arguments;

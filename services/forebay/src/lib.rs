//! `forebay`: the whole mesh in one process, and the operator's command line.
//!
//! # Layout
//! - `arguments`: what can be asked
//! - `commands`: one file per answer: up, predict, score, topics, models, keys, dead-letters, config
//! - `score`, `columns`: offline scoring of files
//! - `target`, `inspection`: what a command line means by a model, and a look at it
//! - `stages`: which stages run here, and which edges between them are memory
//! - `settings`: the settings of all five services, read once
//! - `system`: the wiring of the stages that run here

mod arguments;
mod banner;
mod columns;
mod commands;
mod inspection;
mod score;
mod settings;
mod stages;
mod system;
mod target;

pub use arguments::Arguments;

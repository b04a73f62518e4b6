//! `forebay`: the whole mesh in one process, and the operator's command line.
//!
//! # Layout
//! - `command_line`: the subcommands and their arguments
//! - `commands`: one file for each subcommand: up, predict, score, topics, models, keys, dead-letters, config
//! - `score`, `columns`: offline scoring of files
//! - `model_source`, `inspection`: where a model on the command line comes from, and a report on it
//! - `stages`: which stages run here, and which edges between them are memory
//! - `settings`: the settings of all five services, read once
//! - `system`: the wiring of the stages that run here

mod banner;
mod columns;
mod command_line;
mod commands;
mod inspection;
mod model_source;
mod score;
mod settings;
mod stages;
mod system;

pub use command_line::CommandLine;

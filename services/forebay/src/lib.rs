//! `forebay`: the whole mesh in one process, and the operator's command line.
//!
//! # Layout
//! - `command_line`: the subcommands and their arguments
//! - `commands`: one file for each subcommand: up, predict, score, topics, models, keys, dead-letters, config
//! - `score`, `columns`: offline scoring of files
//! - `model_source`, `inspection`: where a model on the command line comes from, and a report on it
//! - `served_models`: what `up --model` serves, as settings
//! - `settings`: the settings of all five services, read once
//! - `system`: the stages that run here, on the edges of one mesh

mod banner;
mod columns;
mod command_line;
mod commands;
mod inspection;
mod model_source;
mod score;
mod served_models;
mod settings;
mod system;

pub use command_line::CommandLine;

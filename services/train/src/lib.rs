//! `forebay-train`: from a CSV file to a model that Forebay serves.
//!
//! # Layout
//! - `training_arguments`, `run`: the command line, and one training from beginning to end
//! - `dataset`, `target_values`: the data; every mistake is reported with its line and column
//! - `folds`, `samples`, `evaluation`, `scores`: k-fold evaluation of every contender on the same rows
//! - `mlp`, `loss_log`, `progress`: the net, trained by burn-train; `linear`: the baseline beside it
//! - `network`: a fitted model as plain numbers
//! - `model_folder`, `destination`, `folder_registry`, `mlflow`: what is written, and where
//! - `summary`: the table at the end

mod dataset;
mod destination;
mod evaluation;
mod folder_registry;
mod folds;
mod linear;
mod loss_log;
mod mlflow;
mod mlp;
mod model_folder;
mod network;
mod progress;
mod run;
mod samples;
mod scores;
mod summary;
mod target_values;
mod training_arguments;

pub use training_arguments::TrainingArguments;

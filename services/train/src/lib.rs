//! `forebay-train`: from a CSV file to a model that Forebay serves.
//!
//! # Layout
//! - `arguments`, `run`: what can be asked, and one training from beginning to end
//! - `table`, `target`: the data, every mistake named by line and column
//! - `folds`, `samples`, `evaluation`, `scores`: k-fold evaluation of every contender on the same rows
//! - `mlp`, `silence`, `progress`: the net, trained by burn-train; `linear`: the baseline beside it
//! - `network`: a fitted model as plain numbers
//! - `model_folder`, `destination`, `folder_registry`, `mlflow`: what is written, and where
//! - `summary`: the table at the end

mod arguments;
mod destination;
mod evaluation;
mod folder_registry;
mod folds;
mod linear;
mod mlflow;
mod mlp;
mod model_folder;
mod network;
mod progress;
mod run;
mod samples;
mod scores;
mod silence;
mod summary;
mod table;
mod target;

pub use arguments::Arguments;

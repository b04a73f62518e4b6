//! Publishing: the last stage. Answers every request once, whichever door it came through.
//!
//! # Layout
//! - [`system`]: the wiring
//! - [`settings`]: the section `[results]`
//! - `actors`: the publisher
//! - `desk`: judges outcomes and sends them where their origin says
//! - `ledger`: `window` and `ring` (ids), `kept` (answers under an `Idempotency-Key`), [`rebuild`] after a take-over
//! - `letter`, `receipt`: an outcome before it is sent, and until its delivery report
//! - [`outside`], [`answers`], [`mod@format`]: records on the result topic, answers over RabbitMQ, the JSON in them
//! - `story`, `counters`: spans of slow and failed requests, metrics

mod actors;
pub mod answers;
mod counters;
mod desk;
pub mod format;
mod kept;
mod ledger;
mod letter;
pub mod outside;
pub mod rebuild;
mod receipt;
mod ring;
pub mod settings;
mod story;
pub mod system;
mod window;

use forebay_runtime::DefaultSettings;

/// The settings this service has, with their defaults.
pub const DEFAULTS: DefaultSettings = DefaultSettings { name: "publishing", toml: include_str!("../settings.toml") };

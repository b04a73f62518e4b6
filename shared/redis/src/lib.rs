//! The Redis server that several services use: its settings, the client that they make, and what its errors mean.

mod client;
mod settings;

pub use client::{InvalidRedisSetting, is_refused, is_rejected};
pub use settings::RedisSettings;

/// The section `[redis]` with its defaults.
pub const DEFAULTS: forebay_runtime::DefaultSettings =
    forebay_runtime::DefaultSettings::new("redis", include_str!("../settings.toml"));

//! The caching stage: repeated questions are answered from memory or Redis, equal ones in flight share one inference.
//!
//! # Layout
//! - [`system`]: the wiring; `outlets.rs`: the edges that the stage sends to
//! - `actors/cacher.rs`: the one actor that owns everything below, so that nothing here takes a lock
//! - `keeper.rs`: what becomes of each item: hit, wait, ask the second level, or go on to prediction
//! - `flight.rs`, `patience.rs`: who waits for whom, and for how long
//! - `memory_level.rs`, `second_level.rs`, `redis_level.rs`, `redis_address.rs`, `breaker.rs`: the two levels
//! - `entry.rs`: what is stored; bytes from Redis are not trusted
//! - `journey.rs`: a batch whose items leave at different times, under one acknowledgement

mod actors;
mod breaker;
mod entry;
mod flight;
mod journey;
mod keeper;
mod memory_level;
mod metrics;
mod outlets;
mod patience;
mod policy;
mod redis_address;
mod redis_level;
mod second_level;
mod settings;
pub mod system;

pub use entry::{Corrupt, Entry};
pub use outlets::Outlets;
pub use policy::Policy;
pub use redis_level::RedisLevel;
pub use second_level::{Reply, SecondLevel, Trouble, Write};
pub use settings::{CacheSettings, RedisSettings, Settings};
pub use system::Inlets;

/// The service's own settings with their defaults.
pub const DEFAULTS: forebay_runtime::DefaultSettings =
    forebay_runtime::DefaultSettings { name: "caching", toml: include_str!("../settings.toml") };

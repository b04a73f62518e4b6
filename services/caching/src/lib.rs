//! The caching stage: repeated rows are answered from memory or Redis, and equal rows in flight share one prediction.
//!
//! # Layout
//! - [`system`]: what the stage takes and sends; `outlets.rs`: the edges it sends to
//! - `actors/cache.rs`: the one actor, which owns everything below, so that nothing here takes a lock
//! - `lookup.rs`: the path of a batch: hit, wait, L2 lookup, or prediction
//! - `store.rs`: predictions are stored and answer the requests that wait
//! - `outgoing.rs`: the batches that leave, under the acknowledgement of those that arrived
//! - `single_flight.rs`, `adaptive_timeout.rs`: which requests wait for which, and how long
//! - `memory_cache.rs`: L1. `remote.rs`, `redis_cache.rs`: L2
//! - `entry.rs`: what is stored; bytes from Redis are not trusted
//! - `cache_policy.rs`, `settings.rs`, `metrics.rs`: where each model is cached, `[cache]`, counters

mod actors;
mod adaptive_timeout;
mod cache_policy;
mod entry;
mod lookup;
mod memory_cache;
mod metrics;
mod outgoing;
mod outlets;
mod redis_cache;
mod remote;
mod settings;
mod single_flight;
mod store;
pub mod system;

pub use cache_policy::CachePolicy;
pub use entry::{CacheEntry, CorruptEntry};
pub use outlets::Outlets;
pub use redis_cache::RedisCache;
pub use remote::{CacheError, CacheFuture, CacheWrite, RemoteCache};
pub use settings::{CacheSettings, Settings};
pub use system::Inlets;

/// The service's settings with their defaults.
pub const DEFAULTS: forebay_runtime::DefaultSettings =
    forebay_runtime::DefaultSettings::new("caching", include_str!("../settings.toml"));

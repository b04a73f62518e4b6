//! The stage's actor.

mod cache;

pub(crate) use cache::{CacheActor, LookUp, ReleaseWaiters, StorePredictions};

//! The stage's actor.

pub(crate) mod publisher;

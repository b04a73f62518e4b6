//! The actor of this stage.

pub(crate) mod publisher;

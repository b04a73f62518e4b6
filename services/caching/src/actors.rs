//! The stage's actors.

mod cacher;

pub(crate) use cacher::{Cacher, Landed, Lookup, Release};

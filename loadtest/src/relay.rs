//! The bare relay: what a chain of five processes costs that only forward bytes, at least once. It is the lower bound
//! for the mesh.

mod chain;
mod commit_tracker;
mod pack;
mod process;

pub use chain::RelayChainArgs;
pub use process::{RelayArgs, RelayRole};

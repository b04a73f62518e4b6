//! The bare relay: what a chain of five processes costs that only hand bytes on, at least once. The floor for the mesh.

mod chain;
mod commit_tracker;
mod pack;
mod process;

pub use chain::RelayChainArgs;
pub use process::{RelayArgs, RelayRole};

//! The bare relay: what a chain of five processes costs that only hand bytes on, at least once. The floor for the mesh.
mod chain;
mod pack;
mod stage;
mod tracker;

pub use chain::RelayChainArgs;
pub use stage::{RelayArgs, Role};

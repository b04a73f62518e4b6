//! Python artefacts read as inert data: no class is imported, nothing is called.

mod array;
mod graph;
mod inflate;
mod joblib;
mod literal;
mod npy;
mod numpy;
mod objects;
mod opcode;
mod pickle;
mod skops;

pub(crate) use graph::{Graph, View};
pub(crate) use inflate::joblib as inflate_joblib;
pub(crate) use pickle::read as read_pickle;
pub(crate) use skops::read as read_skops;

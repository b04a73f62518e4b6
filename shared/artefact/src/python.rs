//! Python artefacts read as inert data: no class is imported, nothing is called.

mod arena;
mod array;
mod byte_strings;
mod class_labels;
mod graph;
mod inflate;
mod joblib;
mod literal;
mod matrix;
mod memo;
mod npy;
mod numpy;
mod objects;
mod opcode;
mod pickle;
mod records;
mod skops;
mod state;
mod values;
mod view;
mod zip_entries;

pub use array::Array;
pub use graph::Graph;
pub use records::Records;
pub use view::View;

use bytes::Bytes;

use crate::{Fault, LoadBudget};

/// Reads a skops file, or a pickle of protocol 2 to 5, possibly compressed by joblib. What is inflated is taken from `budget`.
///
/// # Errors
/// A [`Fault`] that names the place in the file, or the budget.
pub fn read(bytes: &Bytes, budget: &LoadBudget) -> Result<Graph, Fault> {
    if bytes.starts_with(b"PK") {
        return skops::read(bytes, budget);
    }
    match inflate::joblib(bytes, budget)? {
        Some(inflated) => read_raw_pickle(&inflated.into()),
        None => read_raw_pickle(bytes),
    }
}

fn read_raw_pickle(bytes: &Bytes) -> Result<Graph, Fault> {
    match &**bytes {
        [0x80, 2..=5, ..] => pickle::read(bytes),
        [0x80, version, ..] => Err(Fault::new("", format!("pickle protocol {version} is not supported"))),
        _ => Err(Fault::new(
            "",
            "is neither skops nor a pickle of protocol 2 to 5, nor a booster; other formats are known by .onnx, .safetensors and .bpk",
        )),
    }
}

//! The files of a model version, read without compiling the model: the description `MLmodel`, the separate
//! preprocessing artefact, and Python objects as inert data. Nothing here runs code from a file, every size in a file
//! is checked, and no tensor library is needed.
//!
//! # Layout
//! - [`Store`], [`VersionFiles`]: a folder of files, and the files of one version with their digest; [`ModelPath`]: a
//!   model folder or file that stands alone
//! - [`Column`], [`Value`], [`TypedRows`], [`Label`], [`Output`]: what typed rows and answers are made of
//! - [`LoadBudget`], [`Allowance`]: how much memory reading may take
//! - [`yaml`]: YAML without aliases, bounded
//! - [`mlmodel`]: the content of `MLmodel`: flavor, files, inputs
//! - [`python`]: skops and pickle files as a graph of objects
//! - [`step`], [`sklearn`]: fitted scikit-learn transformers, and how they are read from such a graph
//! - [`Preprocessing`]: the artefact that turns a raw row into the model's input

mod budget;
mod column;
mod fault;
mod files;
mod frame;
mod label;
pub mod matrix;
pub mod mlmodel;
mod model_paths;
mod output;
mod preprocessing;
pub mod python;
mod refusal;
mod rows;
pub mod sklearn;
pub mod special;
pub mod step;
mod store;
pub mod text;
pub mod yaml;

pub use budget::{Allowance, LoadBudget, OverBudget};
pub use column::{Column, ColumnKind, Value};
pub use fault::Fault;
pub use files::{VersionFiles, shared};
pub use frame::{Cells, Frame, Sparse};
pub use label::Label;
pub use mlmodel::{Inputs, MlModel, Param};
pub use model_paths::ModelPath;
pub use output::{Output, Outputs, UnknownOutput};
pub use preprocessing::{PrepareError, Preprocessing};
pub use refusal::RowRefusal;
pub use rows::{RaggedRows, Rows, TypedRows};
pub use store::{FileStamp, Store};

/// Lower-case hexadecimal text of a digest.
pub fn hex(digest: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*digest).to_hex().to_string()
}

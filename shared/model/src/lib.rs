//! Models behind one trait: scikit-learn folders read without Python and reproduced to the bit, ONNX at run time
//! and burn nets.
//!
//! [`open`] compiles the files of a version to a [`LoadedVersion`], which holds a [`Model`] and the [`Preprocessing`]
//! that is applied before it. Nothing here runs code from a model file, and every size a file claims is checked.

mod booster;
mod burnpack;
mod catboost;
mod document;
mod example;
mod expectation;
mod folder;
mod forest;
mod formats;
mod fused;
mod head;
mod kernel_machine;
mod learner;
mod lightgbm;
mod model;
mod net;
mod onnx;
mod output_transform;
mod plan;
mod safetensors;
mod scores;
mod signature;
mod sklearn;
mod tensor;
mod version;
mod xgboost;

use forebay_artefact::{matrix, mlmodel, python as artefact, step};

pub use burnpack::{ARCHITECTURE_KEY, NetFile, NetLayer, Prepare, TargetScale};
pub use example::{ExampleCheck, ExampleError, Parity};
pub use expectation::{Expectation, Tolerance};
pub use folder::{load_bytes, load_file, load_folder, load_within, open};
pub use forebay_artefact::{
    Column, ColumnKind, Fault, Label, LoadBudget, Output, Outputs, Param, PrepareError, Preprocessing, RaggedRows,
    RowRefusal, Rows, TypedRows, Value, VersionFiles, hex,
};
pub use model::{Model, ModelError};
pub use net::Dense;
pub use scores::{RowScore, Scores};
pub use signature::{Signature, Task};
pub use version::LoadedVersion;

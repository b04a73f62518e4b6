//! Models behind one trait: scikit-learn folders read without Python and reproduced to the bit, ONNX at run time,
//! burn nets, and the registry they come from.
//!
//! [`Registry`] lists and loads versions, [`LoadedVersion`] holds a [`Model`] and the [`Preprocessing`] that
//! goes before it. Nothing here runs code from a model file, and every size a file claims is checked.

mod artefact;
mod burnpack;
mod example;
mod expectation;
mod fault;
mod folder;
mod forest;
mod formats;
mod fused;
mod head;
mod kernel_machine;
mod matrix;
mod mlmodel;
mod model;
mod net;
mod onnx;
mod output_transform;
mod plan;
mod preprocessing;
mod registry;
mod rows;
mod safetensors;
pub mod sample;
mod scores;
mod signature;
mod sklearn;
mod step;
mod tensor;

pub use burnpack::{ARCHITECTURE_KEY, NetFile, NetLayer, Prepare, TargetScale};
pub use example::{ExampleCheck, ExampleError, Parity};
pub use expectation::{Expectation, Tolerance};
pub use fault::Fault;
pub use folder::{load_bytes, load_file, load_folder};
pub use model::{Model, ModelError};
pub use net::Dense;
pub use preprocessing::{PrepareError, Preprocessing};
pub use registry::{
    Body, Credentials, LoadedVersion, MlflowClient, ModelUri, ModelView, Registry, RegistryError, RegistryOptions,
    RegistryStatus, RegistryWatch, Resolution, TlsOptions, Trouble, Verb, VersionMeta, VersionView,
};
pub use rows::Rows;
pub use scores::{RowScore, Scores};
pub use signature::{Signature, Task};

/// Lower-case hex of a digest.
pub fn hex(digest: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*digest).to_hex().to_string()
}

//! `model.bpk`: a burnpack file whose metadata describes the architecture, so that one file is one model.
//!
//! Metadata key `forebay.architecture` holds JSON:
//!
//! ```json
//! {"width": 10, "features": ["age", ...], "task": "regression", "labels": [],
//!  "prepare": {"fill": [0.1, ...], "center": [0.0, ...], "scale": [1.0, ...]},
//!  "layers": [{"linear": "layers.0"}, {"activation": "relu"}, {"linear": "layers.2"}],
//!  "target": {"scale": 77.0, "center": 152.1}}
//! ```
//!
//! A linear layer names tensors `<name>.weight` (`[in, out]`, f32; `[out, in]` with `"layout": "out_in"`) and `<name>.bias` (`[out]`, optional). For
//! classification the outputs are one logit for two labels, or one score per label. `prepare` and `target` are optional
//! and computed in f64: missing values are filled, columns standardised before the net, the output taken back to the
//! target's own unit after it.

mod architecture;
pub(crate) mod read;
mod write;

pub use architecture::{Prepare, TargetScale};
pub(crate) use read::{Values, compile, read};
pub use write::{NetFile, NetLayer};

/// Metadata key of the architecture.
pub const ARCHITECTURE_KEY: &str = "forebay.architecture";

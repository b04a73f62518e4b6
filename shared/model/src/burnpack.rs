//! `model.bpk`: a burnpack file whose metadata holds the architecture, so that one file is a complete model.
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
//! A linear layer has the tensors `<name>.weight` (f32, `[in, out]`, or `[out, in]` with `"layout": "out_in"`) and
//! `<name>.bias` (`[out]`, optional). For classification the outputs are one logit for two labels, or one score per
//! label. `prepare` and `target` are optional and computed in f64: `prepare` fills missing values and standardises
//! columns before the net, `target` converts the output back to the unit of the target.

mod architecture;
pub(crate) mod read;
mod write;

pub use architecture::{ARCHITECTURE_KEY, Prepare, TargetScale};
pub(crate) use read::{Values, compile, read};
pub use write::{NetFile, NetLayer};

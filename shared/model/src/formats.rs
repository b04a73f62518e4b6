//! Which reader a model file needs.

use crate::head::Head;
use crate::mlmodel::unnamed_features;
use crate::plan::Plan;
use crate::{Fault, artefact, burnpack, onnx, safetensors, sklearn};

/// Reads a model file.
pub(crate) fn read_model(file: &str, bytes: &[u8]) -> Result<Plan, Fault> {
    if has_extension(file, "bpk") {
        return burnpack::read(bytes);
    }
    if has_extension(file, "safetensors") {
        return safetensors::read(bytes);
    }
    if has_extension(file, "onnx") {
        return compile_onnx(bytes);
    }
    sklearn::compile_model(&artefact::read(bytes)?.view())
}

fn compile_onnx(bytes: &[u8]) -> Result<Plan, Fault> {
    let onnx::Compiled { program, transform, takes_missing } = onnx::read(bytes)?;
    let features = unnamed_features(program.width());
    let plan = Plan::new(features, Vec::new(), Head::Program(program), transform, takes_missing);
    plan.map_err(|error| Fault::new("graph", error))
}

fn has_extension(file: &str, extension: &str) -> bool {
    file.rsplit_once('.').is_some_and(|(_, e)| e.eq_ignore_ascii_case(extension))
}

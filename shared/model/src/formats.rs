//! Which reader a model file needs.

use crate::artefact::{Graph, inflate_joblib, read_pickle, read_skops};
use crate::head::Head;
use crate::plan::Plan;
use crate::signature::unnamed_features;
use crate::step::Step;
use crate::{Fault, burnpack, onnx, safetensors, sklearn};

/// Fitted steps read from an artefact.
pub(crate) struct Steps {
    pub width: usize,
    pub output_width: usize,
    pub steps: Vec<Step>,
}

/// Reads a model file.
pub(crate) fn read_model(file: &str, bytes: &[u8]) -> Result<Plan, Fault> {
    if has_extension(file, "bpk") {
        return burnpack::read(bytes);
    }
    if has_extension(file, "safetensors") {
        return safetensors::read(bytes);
    }
    if has_extension(file, "onnx") {
        let onnx::Compiled { program, transform, takes_missing } = onnx::read(bytes)?;
        let features = unnamed_features(program.width());
        let plan = Plan::new(features, Vec::new(), Head::Program(program), transform, takes_missing);
        return plan.map_err(|error| Fault::new("graph", error));
    }
    sklearn::compile_model(&read_artefact(bytes)?.view())
}

/// Reads a preprocessing file.
pub(crate) fn read_steps(bytes: &[u8]) -> Result<Steps, Fault> {
    sklearn::compile_steps(&read_artefact(bytes)?.view())
}

fn has_extension(file: &str, extension: &str) -> bool {
    file.rsplit_once('.').is_some_and(|(_, e)| e.eq_ignore_ascii_case(extension))
}

fn read_artefact(bytes: &[u8]) -> Result<Graph, Fault> {
    if bytes.starts_with(b"PK") {
        return read_skops(bytes);
    }
    if let Some(pickle) = inflate_joblib(bytes)? {
        return read_raw_pickle(&pickle);
    }
    read_raw_pickle(bytes)
}

fn read_raw_pickle(bytes: &[u8]) -> Result<Graph, Fault> {
    match bytes {
        [0x80, 2..=5, ..] => read_pickle(bytes),
        [0x80, version, ..] => Err(Fault::new("", format!("pickle protocol {version} is not supported"))),
        _ => Err(Fault::new("", "is neither skops nor a pickle of protocol 2 to 5")),
    }
}

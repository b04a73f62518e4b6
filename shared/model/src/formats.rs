//! Which reader a model file needs.

use bytes::Bytes;
use forebay_artefact::Allowance;

use crate::booster::Compiled;
use crate::head::Head;
use crate::mlmodel::unnamed_features;
use crate::plan::Plan;
use crate::{Fault, LoadBudget, artefact, burnpack, catboost, document, lightgbm, onnx, safetensors, sklearn, xgboost};

/// Bytes that reading a booster, or the header of a safetensors file, may allocate besides its file, for each byte of the
/// file.
pub(crate) const FACTOR: usize = 3;

/// Reads a model file. `class` is the Python class that a booster was saved from, if the description has one. What a
/// compressed file inflates to is taken from `budget`.
pub(crate) fn read_model(file: &str, bytes: &Bytes, class: Option<&str>, budget: &LoadBudget) -> Result<Plan, Fault> {
    if has_extension(file, "bpk") {
        return burnpack::read(bytes);
    }
    if has_extension(file, "safetensors") {
        return safetensors::read(bytes, budget);
    }
    if has_extension(file, "onnx") {
        return compile_onnx(bytes, budget);
    }
    if let Some(compiled) = read_booster(bytes, class, &budget.allowance(bytes.len(), FACTOR))? {
        return compiled.plan().map_err(|e| Fault::new("", e));
    }
    sklearn::compile_model(&artefact::read(bytes, budget)?.with_estimators(&sklearn::Readers).view())
}

/// Reads a booster; `None` if the first bytes are of no booster's format.
fn read_booster(bytes: &[u8], class: Option<&str>, allowance: &Allowance) -> Result<Option<Compiled>, Fault> {
    match bytes {
        [b'{', ..] => {
            let document = document::read(bytes, allowance).map_err(|e| Fault::new("", e))?;
            match () {
                () if xgboost::owns(&document) => xgboost::compile(&document, class, None, allowance).map(Some),
                () if catboost::owns_document(&document) => {
                    catboost::compile_document(&document, class, allowance).map(Some)
                }
                () => Err(Fault::new("", "is JSON, but not a model of XGBoost or CatBoost")),
            }
        }
        _ if xgboost::owns_binary(bytes) => xgboost::compile_binary(bytes, class, None, allowance).map(Some),
        _ if catboost::owns(bytes) => catboost::compile(bytes, class, allowance).map(Some),
        _ if lightgbm::owns(bytes) => lightgbm::compile(bytes, class, allowance).map(Some),
        _ => Ok(None),
    }
}

fn compile_onnx(bytes: &[u8], budget: &LoadBudget) -> Result<Plan, Fault> {
    let onnx::Compiled { program, transform, takes_missing } = onnx::read(bytes, budget)?;
    let features = unnamed_features(program.width());
    let plan = Plan::new(features, Vec::new(), Head::Program(program), transform, takes_missing);
    plan.map_err(|error| Fault::new("graph", error))
}

fn has_extension(file: &str, extension: &str) -> bool {
    file.rsplit_once('.').is_some_and(|(_, e)| e.eq_ignore_ascii_case(extension))
}

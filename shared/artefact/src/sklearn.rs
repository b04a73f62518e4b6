//! Fitted scikit-learn transformers, from the graph of an artefact to [`Step`]s.

mod encode;
mod estimators;
mod features;
mod importance;
mod impute;
pub mod kernel;
mod reduce;
mod select;
pub mod step;
mod topics;
pub mod values;
mod vectorize;

pub use estimators::{Estimators, Importances, Regressor};

use crate::Fault;
use crate::preprocessing::Steps;
use crate::python::View;
use crate::step::Step;

/// How deep an object that states its number of inputs may lie inside another.
const MAX_NESTING: usize = 16;
/// The most objects that are looked at for one that states its width.
const MAX_VISITS: usize = 256;
/// The most steps of a pipeline. What reads them descends by one for each.
const MAX_STAGES: usize = 1000;
/// How many members of an ensemble may state no number of inputs before one does.
const MAX_MEMBERS: usize = 64;

/// Reads a fitted transformer, or a pipeline of them.
///
/// # Errors
/// A [`Fault`] that names an unsupported class, or the problem in a supported one.
pub(crate) fn read_steps(root: &View<'_>) -> Result<Steps, Fault> {
    let (mut steps, mut width): (Vec<Step>, _) = (Vec::new(), None);
    let stages = stages(root)?;
    for stage in &stages {
        let taken = stage_width(stage, width)?;
        width = Some(step::compile(stage, taken, &mut steps)?);
    }
    let (Some(first), Some(output_width)) = (stages.first(), width) else {
        return Err(root.fault("pipeline has no steps"));
    };
    Ok(Steps { width: stage_width(first, None)?, output_width, steps })
}

/// The objects that a (possibly nested) pipeline runs, in order; the object itself when it is not a pipeline.
///
/// # Errors
/// A [`Fault`] for a pipeline whose steps cannot be read.
pub fn stages<'g>(root: &View<'g>) -> Result<Vec<View<'g>>, Fault> {
    let mut out = Vec::new();
    flatten(root, &mut out, 0)?;
    Ok(out)
}

fn flatten<'g>(view: &View<'g>, out: &mut Vec<View<'g>>, depth: usize) -> Result<(), Fault> {
    if let Some(inner) = wrapped(view)? {
        return if depth > MAX_NESTING {
            Err(view.fault("is nested too deep"))
        } else {
            flatten(&inner, out, depth + 1)
        };
    }
    if !matches!(view.class(), "sklearn.pipeline.Pipeline" | "imblearn.pipeline.Pipeline") {
        if out.len() == MAX_STAGES {
            return Err(view.fault(format!("is a step of a pipeline that has more than {MAX_STAGES}")));
        }
        out.push(view.clone());
        return Ok(());
    }
    if depth > 8 {
        return Err(view.fault("pipelines are nested too deep"));
    }
    for pair in view.attr("steps")?.items()? {
        let pair = pair.items()?;
        let [_, stage] = pair.as_slice() else { return Err(view.fault("step is not a (name, object) pair")) };
        // samplers of imbalanced-learn take part in the fit alone
        if stage.is_none() || stage.text() == Ok("passthrough") || is_sampler(stage.class()) {
            continue;
        }
        flatten(stage, out, depth + 1)?;
    }
    Ok(())
}

/// The fitted estimator that a search, or another wrapper that answers as its estimator does, holds.
fn wrapped<'g>(view: &View<'g>) -> Result<Option<View<'g>>, Fault> {
    let class = view.class();
    let name = class.rsplit('.').next().unwrap_or("");
    let names: &[&str] = match class.split('.').next().unwrap_or("") {
        "sklearn" => wrapping(name),
        "skopt" if name == "BayesSearchCV" => &["best_estimator_"],
        "optuna" | "optuna_integration" if name == "OptunaSearchCV" => &["best_estimator_"],
        _ => &[],
    };
    if names.is_empty() {
        return Ok(None);
    }
    match names.iter().find_map(|name| view.opt(name)) {
        Some(inner) => Ok(Some(inner)),
        None => Err(view.fault(format!("{} has no {}: it was not refitted", view.described(), names[0]))),
    }
}

/// The attributes of scikit-learn's wrappers that hold their estimator; none of another class.
fn wrapping(class: &str) -> &'static [&'static str] {
    match class {
        "GridSearchCV" | "RandomizedSearchCV" | "HalvingGridSearchCV" | "HalvingRandomSearchCV" => &["best_estimator_"],
        "RANSACRegressor" => &["estimator_"],
        "SelfTrainingClassifier" => &["estimator_", "base_estimator_"],
        "FrozenEstimator" => &["estimator"],
        _ => &[],
    }
}

fn is_sampler(class: &str) -> bool {
    let modules = ["imblearn.over_sampling.", "imblearn.under_sampling.", "imblearn.combine."];
    class == "imblearn.base.FunctionSampler" || modules.iter().any(|module| class.starts_with(module))
}

/// Number of input values of a stage, which must equal the number of output values of the previous stage.
///
/// # Errors
/// A [`Fault`] when they differ, or when the stage does not state its width.
pub fn stage_width(stage: &View<'_>, before: Option<usize>) -> Result<usize, Fault> {
    let own = match fitted_width(stage)? {
        Some(width) => width,
        None => match before {
            Some(width) => width,
            None if stage.class().is_empty() => {
                return Err(stage.fault(format!("{} is not supported; save the estimator itself", stage.kind())));
            }
            None => return Err(stage.fault(format!("{} is not supported", stage.described()))),
        },
    };
    match before {
        Some(width) if width != own => Err(stage.fault(format!("takes {own} values, the step before gives {width}"))),
        _ if own == 0 => Err(stage.fault("takes no values")),
        _ => Ok(own),
    }
}

/// The objects inside a pipeline, a union, an ensemble, a wrapper or a search that take the same input as it does: the
/// first step of a pipeline, or all members.
///
/// # Errors
/// A [`Fault`] for a list of them that cannot be read.
pub fn inside<'g>(view: &View<'g>) -> Result<Vec<View<'g>>, Fault> {
    let list = ["steps", "transformer_list", "estimators_", "calibrated_classifiers_"].iter().find_map(|n| view.opt(n));
    let members = match list {
        Some(list) => list.items()?,
        None => ["best_estimator_", "estimator_", "regressor_", "estimator"]
            .iter()
            .find_map(|n| view.opt(n))
            .into_iter()
            .collect(),
    };
    // (name, object)
    let object = |member: View<'g>| match member.items() {
        Ok(pair) => pair.into_iter().nth(1),
        Err(_) => Some(member),
    };
    let mut members: Vec<View<'g>> =
        members.into_iter().filter_map(object).filter(|member| member.text() != Ok("drop")).collect();
    if view.opt("steps").is_some() {
        members.truncate(1);
    }
    Ok(members)
}

/// The number of input features that an object states, or that the first object inside it that states one does.
fn fitted_width(stage: &View<'_>) -> Result<Option<usize>, Fault> {
    width_within(stage, 0, &mut { MAX_VISITS })
}

/// As [`fitted_width`]; `left` objects may be looked at, as a file may say that an object is inside itself.
fn width_within(at: &View<'_>, depth: usize, left: &mut usize) -> Result<Option<usize>, Fault> {
    let Some(fewer) = left.checked_sub(1) else { return Ok(None) };
    *left = fewer;
    // the isotonic regression does not state that it takes one column
    if vectorize::takes_documents(at.class()) || at.class() == "sklearn.isotonic.IsotonicRegression" {
        return Ok(Some(1));
    }
    if let Some(n) = at.opt("n_features_in_").or_else(|| at.opt("_n_features_in")) {
        return n.count(vectorize::MAX_TERMS).map(Some);
    }
    if let Some(width) = booster_width(at) {
        return Ok(Some(width));
    }
    if depth == MAX_NESTING {
        return Ok(None);
    }
    for member in inside(at)?.iter().take(MAX_MEMBERS) {
        if let Some(width) = width_within(member, depth + 1, left)? {
            return Ok(Some(width));
        }
    }
    Ok(None)
}

/// The number of features in the file inside a pickled estimator of XGBoost, which states it nowhere else.
fn booster_width(view: &View<'_>) -> Option<usize> {
    const KEY: &[u8] = b"num_featureSL";
    let bytes = view.opt("_Booster")?.opt("handle")?.bytes().ok()?;
    let at = bytes.windows(KEY.len()).position(|window| window == KEY)? + KEY.len();
    let length = usize::try_from(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?)).ok()?;
    let digits = bytes.get(at + 8..)?.get(..length)?;
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|width| *width <= crate::mlmodel::MAX_WIDTH)
}

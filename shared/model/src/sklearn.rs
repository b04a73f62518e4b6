//! Compiles an inert scikit-learn artefact to a plan.

mod bayes;
mod boosted;
mod boosters;
mod clusters;
mod ensemble;
mod estimator;
mod forest;
mod gaussian_process;
mod histogram;
mod inside_steps;
mod kernel_density;
mod linear;
mod meta_estimator;
mod neighbours;
mod neural;
mod outlier;
mod search;
mod stacking;
mod svm;
mod target;
mod tree;

use std::sync::Arc;

pub(crate) use inside_steps::Readers;

use forebay_artefact::sklearn::{inside, stage_width, stages, step};

use crate::artefact::View;
use crate::booster::numbers;
use crate::head::Head;
use crate::mlmodel::{MAX_WIDTH, unnamed_features};
use crate::output_transform::OutputTransform;
use crate::plan::{Columns, Plan};
use crate::step::Step;
use crate::{Fault, Label, Task};

/// A compiled estimator, without the steps before it.
pub(crate) struct Estimator {
    pub head: Head,
    pub transform: OutputTransform,
    /// Whether the head accepts missing values; where it has members, whether they do decides.
    pub takes_missing: bool,
}

/// Compiles a fitted estimator, or a pipeline that ends in one.
pub(crate) fn compile_model(root: &View<'_>) -> Result<Plan, Fault> {
    let stages = stages(root)?;
    let first = stages.first().ok_or_else(|| root.fault("pipeline has no steps"))?;
    // a booster alone has the names and the number of its features in its own file
    if let ([only], Some(compiled)) = (stages.as_slice(), boosters::read(first)?) {
        let plan = compiled.plan().map_err(|e| only.fault(e))?;
        return Ok(plan.with_decision(estimator::decides(only)?));
    }
    compile(root, Columns::Named(features(first)?))
}

/// Compiles a member of a meta-estimator, which takes `width` values.
fn compile_member(root: &View<'_>, width: usize) -> Result<Plan, Fault> {
    compile(root, Columns::Unnamed(width))
}

/// Whether a member answers one number.
fn is_regressor(member: &Plan) -> bool {
    member.transform().values() == 1 && member.transform().task() == Task::Regression
}

fn compile(root: &View<'_>, features: Columns) -> Result<Plan, Fault> {
    root.spend_plan()?;
    let mut steps = Vec::new();
    let Estimator { head, transform, takes_missing } = compile_stages(root, Some(features.len()), &mut steps)?;
    let stages = stages(root)?;
    let decides = stages.last().map(estimator::decides).transpose()?.unwrap_or(false);
    let is_member = matches!(features, Columns::Unnamed(_));
    let plan = Plan::new(features, steps, head, transform, takes_missing).map_err(|e| root.fault(e))?;
    if is_member {
        root.spend_columns(crate::Model::columns(&plan).len())?;
    }
    Ok(plan.with_decision(decides))
}

/// Compiles an estimator, or a pipeline that ends in one and whose steps are appended to `steps`. Its input has `width`
/// values, if that is known.
fn compile_stages(root: &View<'_>, mut width: Option<usize>, steps: &mut Vec<Step>) -> Result<Estimator, Fault> {
    let stages = stages(root)?;
    let Some((last, before)) = stages.split_last() else { return Err(root.fault("pipeline has no steps")) };
    for stage in before {
        let taken = stage_width(stage, width)?;
        width = Some(step::compile(stage, taken, steps)?);
    }
    estimator::compile(last, stage_width(last, width)?, steps)
}

fn features(first: &View<'_>) -> Result<Vec<String>, Fault> {
    let width = match stage_width(first, None) {
        Ok(width) => width,
        Err(fault) => return booster_features(first, 0)?.ok_or(fault),
    };
    if width > MAX_WIDTH {
        return Err(first.fault(format!("takes {width} values, at most {MAX_WIDTH}")));
    }
    let Some(names) = first.opt("feature_names_in_") else { return Ok(unnamed_features(width)) };
    let names = names.texts()?;
    if names.len() == width { Ok(names) } else { Err(first.fault(format!("{} names for {width} values", names.len()))) }
}

/// The features of the first booster inside an ensemble whose members state no number of inputs.
fn booster_features(view: &View<'_>, depth: usize) -> Result<Option<Vec<String>>, Fault> {
    if let Some(compiled) = boosters::read(view)? {
        return Ok(Some(compiled.features));
    }
    match inside(view)?.first() {
        Some(member) if depth < 8 => booster_features(member, depth + 1),
        _ => Ok(None),
    }
}

/// The labels of clusters: their indices.
fn class_indices(count: usize) -> Arc<[Label]> {
    (0..count as i64).map(Label::Integer).collect()
}

/// The labels of each output of a classifier with several.
fn labels_of_each(view: &View<'_>) -> Result<Vec<Arc<[Label]>>, Fault> {
    let labels: Vec<Arc<[Label]>> =
        view.items()?.iter().map(|labels| Ok(labels.labels()?.into())).collect::<Result<_, Fault>>()?;
    if labels.is_empty() { Err(view.fault("has no outputs")) } else { Ok(labels) }
}

/// The finite values of a `rows x columns` matrix.
fn matrix(view: &View<'_>, rows: usize, columns: usize) -> Result<Vec<f64>, Fault> {
    let (values, shape) = view.matrix()?;
    if shape != [rows, columns] {
        return Err(view.fault(format!("has shape {shape:?}, expected [{rows}, {columns}]")));
    }
    match values.iter().position(|v| !v.is_finite()) {
        Some(i) => Err(view.fault(format!("value {i} is {}, not finite", values[i]))),
        None => Ok(values),
    }
}

//! Compiles an inert scikit-learn artefact to a plan.

mod estimator;
mod forest;
mod histogram;
mod linear;
mod meta_estimator;
mod neural;
mod svm;
mod tree;

use forebay_artefact::sklearn::{stage_width, stages, step};

use crate::Fault;
use crate::artefact::View;
use crate::head::Head;
use crate::mlmodel::unnamed_features;
use crate::output_transform::OutputTransform;
use crate::plan::Plan;

/// A compiled estimator, without the steps before it.
pub(crate) struct Estimator {
    pub head: Head,
    pub transform: OutputTransform,
    /// Whether the head accepts missing values.
    pub takes_missing: bool,
}

/// Compiles a fitted estimator, or a pipeline that ends in one.
pub(crate) fn compile_model(root: &View<'_>) -> Result<Plan, Fault> {
    root.spend_plan()?;
    let (mut steps, mut width) = (Vec::new(), None);
    let stages = stages(root)?;
    let Some((last, before)) = stages.split_last() else { return Err(root.fault("pipeline has no steps")) };
    for stage in before {
        let taken = stage_width(stage, width)?;
        width = Some(step::compile(stage, taken, &mut steps)?);
    }
    let first = stages.first().unwrap_or(last);
    let features = features(first)?;
    let Estimator { head, transform, takes_missing } = estimator::compile(last, stage_width(last, width)?, &mut steps)?;
    Plan::new(features, steps, head, transform, takes_missing).map_err(|e| root.fault(e))
}

fn features(first: &View<'_>) -> Result<Vec<String>, Fault> {
    let width = stage_width(first, None)?;
    let Some(names) = first.opt("feature_names_in_") else { return Ok(unnamed_features(width)) };
    let names = names.texts()?;
    if names.len() == width { Ok(names) } else { Err(first.fault(format!("{} names for {width} values", names.len()))) }
}

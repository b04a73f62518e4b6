//! Compiles an inert scikit-learn artefact to a plan.

mod encode;
mod estimator;
mod forest;
mod histogram;
mod linear;
mod meta_estimator;
mod neural;
mod step;
mod svm;
mod tree;

use crate::Fault;
use crate::artefact::View;
use crate::formats::Steps;
use crate::head::Head;
use crate::mlmodel::MAX_WIDTH;
use crate::output_transform::OutputTransform;
use crate::plan::Plan;
use crate::signature::unnamed_features;
use crate::step::Step;

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

/// Compiles a fitted transformer, or a pipeline of them.
pub(crate) fn compile_steps(root: &View<'_>) -> Result<Steps, Fault> {
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

/// The objects a (possibly nested) pipeline runs in order; the object itself when it is none.
fn stages<'g>(root: &View<'g>) -> Result<Vec<View<'g>>, Fault> {
    let mut out = Vec::new();
    flatten(root, &mut out, 0)?;
    Ok(out)
}

fn flatten<'g>(view: &View<'g>, out: &mut Vec<View<'g>>, depth: usize) -> Result<(), Fault> {
    if view.class() != "sklearn.pipeline.Pipeline" {
        out.push(view.clone());
        return Ok(());
    }
    if depth > 8 {
        return Err(view.fault("pipelines are nested too deep"));
    }
    for pair in view.attr("steps")?.items()? {
        let pair = pair.items()?;
        let [_, stage] = pair.as_slice() else { return Err(view.fault("step is no (name, object) pair")) };
        if stage.is_none() || stage.text() == Ok("passthrough") {
            continue;
        }
        flatten(stage, out, depth + 1)?;
    }
    Ok(())
}

/// Values a stage takes; must agree with what the stage before gives.
fn stage_width(stage: &View<'_>, before: Option<usize>) -> Result<usize, Fault> {
    let own = match fitted_width(stage)? {
        Some(width) => width,
        None => match before {
            Some(width) => width,
            None => return Err(stage.fault(format!("{} is not fitted or not supported", stage.kind()))),
        },
    };
    match before {
        Some(width) if width != own => Err(stage.fault(format!("takes {own} values, the step before gives {width}"))),
        _ if own == 0 => Err(stage.fault("takes no values")),
        _ => Ok(own),
    }
}

/// The width that an object was fitted with; that of a voting regressor is in its first estimator.
fn fitted_width(stage: &View<'_>) -> Result<Option<usize>, Fault> {
    if let Some(n) = stage.opt("n_features_in_") {
        return n.count(MAX_WIDTH).map(Some);
    }
    if !stage.class().ends_with(".VotingRegressor") {
        return Ok(None);
    }
    let members = stage.attr("estimators_")?.items()?;
    let first = members.first().map(stages).transpose()?;
    match first.as_deref() {
        Some([first, ..]) => fitted_width(first),
        _ => Ok(None),
    }
}

fn features(first: &View<'_>) -> Result<Vec<String>, Fault> {
    let width = stage_width(first, None)?;
    let Some(names) = first.opt("feature_names_in_") else { return Ok(unnamed_features(width)) };
    let names = names.texts()?;
    if names.len() == width { Ok(names) } else { Err(first.fault(format!("{} names for {width} values", names.len()))) }
}

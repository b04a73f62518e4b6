//! Meta-estimators of regressors: bagging, voting, AdaBoost.

use super::{Estimator, compile_member};
use crate::Fault;
use crate::artefact::View;
use crate::head::{Average, Ensemble, Head, Member};
use crate::output_transform::OutputTransform;

/// Bagging: the mean of estimators that may each read a part of the columns.
pub(super) fn bagging(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let estimators = view.attr("estimators_")?.items()?;
    let features = view.attr("estimators_features_")?.items()?;
    if estimators.len() != features.len() {
        return Err(view.fault(format!("{} estimators for {} sets of columns", estimators.len(), features.len())));
    }
    let mut members = Vec::with_capacity(estimators.len());
    for (estimator, columns) in estimators.iter().zip(&features) {
        let seen: Vec<usize> =
            columns.finite()?.iter().map(|c| super::step::column(columns, *c, width)).collect::<Result<_, _>>()?;
        let plan = compile_member(estimator, seen.len())?;
        members.push(Member { columns: Some(seen), plan });
    }
    finish(view, width, members, Average::Mean)
}

/// Voting: the (weighted) mean.
pub(super) fn voting(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let members = members(view, width)?;
    let average = match view.opt("weights") {
        Some(weights) => Average::WeightedMean(kept_weights(view, &weights)?),
        None => Average::Mean,
    };
    finish(view, width, members, average)
}

/// The weights of the estimators that were not dropped.
pub(super) fn kept_weights(view: &View<'_>, weights: &View<'_>) -> Result<Vec<f64>, Fault> {
    let weights = weights.finite()?;
    let named = view.attr("estimators")?.items()?;
    let mut kept = Vec::new();
    for (pair, weight) in named.iter().zip(weights) {
        if pair.items()?.get(1).is_some_and(|e| e.text() != Ok("drop")) {
            kept.push(weight);
        }
    }
    Ok(kept)
}

/// AdaBoost.R2: the weighted median.
pub(super) fn adaboost(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let members = members(view, width)?;
    let weights = view.attr("estimator_weights_")?.finite()?;
    finish(view, width, members, Average::WeightedMedian(weights))
}

fn members(view: &View<'_>, width: usize) -> Result<Vec<Member>, Fault> {
    let estimators = view.attr("estimators_")?.items()?;
    estimators.iter().map(|e| Ok(Member { columns: None, plan: compile_member(e, width)? })).collect()
}

fn finish(view: &View<'_>, width: usize, members: Vec<Member>, average: Average) -> Result<Estimator, Fault> {
    let ensemble = Ensemble::new(width, members, average).map_err(|e| view.fault(e))?;
    Ok(Estimator { head: Head::Ensemble(ensemble), transform: OutputTransform::Number, takes_missing: true })
}

//! Estimators made of estimators: bagging, voting, AdaBoost (regressors).

use super::{Estimator, compile_model};
use crate::Fault;
use crate::answer::Answer;
use crate::artefact::View;
use crate::head::{Committee, Head, Member, Rule};

/// Bagging: the mean of members that may each see some of the columns.
pub(super) fn bagging(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let estimators = view.attr("estimators_")?.items()?;
    let features = view.attr("estimators_features_")?.items()?;
    if estimators.len() != features.len() {
        return Err(view.fault(format!("{} estimators see {} sets of columns", estimators.len(), features.len())));
    }
    let mut members = Vec::with_capacity(estimators.len());
    for (estimator, columns) in estimators.iter().zip(&features) {
        let seen =
            columns.finite()?.iter().map(|c| super::step::column(columns, *c, width)).collect::<Result<_, _>>()?;
        members.push(Member { columns: Some(seen), plan: compile_model(estimator)? });
    }
    finish(view, width, members, Rule::Mean)
}

/// Voting: the (weighted) mean.
pub(super) fn voting(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let members = members(view)?;
    let rule = match view.opt("weights") {
        Some(weights) => Rule::Weighted(kept_weights(view, &weights)?),
        None => Rule::Mean,
    };
    finish(view, width, members, rule)
}

/// Weights of the estimators that were not dropped.
fn kept_weights(view: &View<'_>, weights: &View<'_>) -> Result<Vec<f64>, Fault> {
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
    let members = members(view)?;
    let weights = view.attr("estimator_weights_")?.finite()?;
    finish(view, width, members, Rule::WeightedMedian(weights))
}

fn members(view: &View<'_>) -> Result<Vec<Member>, Fault> {
    let estimators = view.attr("estimators_")?.items()?;
    estimators.iter().map(|e| Ok(Member { columns: None, plan: compile_model(e)? })).collect()
}

fn finish(view: &View<'_>, width: usize, members: Vec<Member>, rule: Rule) -> Result<Estimator, Fault> {
    let takes_missing = members.iter().all(|m| m.plan.accepts_missing());
    let committee = Committee::new(width, members, rule).map_err(|e| view.fault(e))?;
    Ok(Estimator { head: Head::Committee(committee), answer: Answer::Number, takes_missing })
}

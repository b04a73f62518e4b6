//! Classifiers made of classifiers.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Estimator, compile_member, forest};
use crate::artefact::View;
use crate::head::Head;
use crate::learner::{Calibrator, ClassifierEnsemble, Isotonic, Response, Rule, Threshold, Voter};
use crate::output_transform::{Link, OutputTransform};
use crate::plan::Plan;
use crate::{Fault, Label, Model};

/// The place of each of a member's classes among those of the ensemble.
fn places(view: &View<'_>, plan: &Plan, classes: &[Label]) -> Result<Vec<usize>, Fault> {
    let own = &plan.signature().labels;
    let mut known: HashMap<Key<'_>, usize> = HashMap::with_capacity(classes.len());
    for (place, class) in classes.iter().enumerate() {
        known.entry(key(class)).or_insert(place);
    }
    let places: Option<Vec<usize>> = own.iter().map(|label| known.get(&key(label)).copied()).collect();
    match places.filter(|p| !p.is_empty()) {
        Some(places) => Ok(places),
        // members of some ensembles are fitted on the indices of the classes
        None => indices(view, plan, classes),
    }
}

/// A label as it is compared: a boolean is the number that it is in Python.
#[derive(PartialEq, Eq, Hash)]
enum Key<'l> {
    /// The bits of a number; both zeros are one.
    Number(u64),
    Text(&'l str),
}

fn key(label: &Label) -> Key<'_> {
    match label.number() {
        Some(number) => Key::Number((number + 0.0).to_bits()),
        None => Key::Text(label.as_text().unwrap_or_default()),
    }
}

/// As [`places`], for members that were fitted on the indices of the classes.
fn indices(view: &View<'_>, plan: &Plan, classes: &[Label]) -> Result<Vec<usize>, Fault> {
    let index = |label: &Label| {
        let index = label.number().filter(|n| n.fract() == 0.0 && *n >= 0.0)? as usize;
        (index < classes.len()).then_some(index)
    };
    let places: Option<Vec<usize>> = plan.signature().labels.iter().map(index).collect();
    places.filter(|p| !p.is_empty()).ok_or_else(|| view.fault("has other classes than the ensemble"))
}

fn finish(
    view: &View<'_>,
    width: usize,
    labels: Arc<[Label]>,
    members: Vec<Voter>,
    rule: Rule,
) -> Result<Estimator, Fault> {
    if members.is_empty() {
        return Err(view.fault("has no members"));
    }
    for (i, member) in members.iter().enumerate() {
        let seen = member.columns.as_ref().map_or(width, Vec::len);
        if member.plan.width() != seen {
            return Err(view.fault(format!("member {i} does not take {seen} values")));
        }
    }
    let link = match rule {
        Rule::Votes => Link::Index,
        Rule::Boost | Rule::RealBoost => Link::Chosen,
        Rule::Probabilities | Rule::Calibrated => Link::Probabilities,
    };
    let ensemble = ClassifierEnsemble { width, classes: labels.len(), members, rule };
    let transform = OutputTransform::Classes { labels, link };
    Ok(Estimator { head: Head::Learner(Arc::new(ensemble)), transform, takes_missing: true })
}

/// VotingClassifier.
pub(super) fn voting(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let labels = forest::labels(view)?;
    let weights = view.opt("weights").map(|w| super::meta_estimator::kept_weights(view, &w)).transpose()?;
    let mut members = Vec::new();
    for (i, member) in view.attr("estimators_")?.items()?.iter().enumerate() {
        let plan = compile_member(member, width)?;
        let classes = indices(member, &plan, &labels)?;
        let weight = match &weights {
            None => 1.0,
            Some(weights) => *weights.get(i).ok_or_else(|| view.fault("has fewer weights than members"))?,
        };
        members.push(Voter { plan, columns: None, classes, weight, calibrators: Vec::new() });
    }
    let voting = view.attr("voting")?;
    let rule = match voting.word()? {
        "soft" => Rule::Probabilities,
        "hard" => Rule::Votes,
        other => return Err(voting.fault(format!("{other:?} is not supported"))),
    };
    finish(view, width, labels, members, rule)
}

/// BaggingClassifier.
pub(super) fn bagging(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let labels = forest::labels(view)?;
    let estimators = view.attr("estimators_")?.items()?;
    let features = view.attr("estimators_features_")?.items()?;
    if estimators.len() != features.len() {
        return Err(view.fault(format!("{} estimators for {} sets of columns", estimators.len(), features.len())));
    }
    let mut members = Vec::new();
    for (estimator, columns) in estimators.iter().zip(&features) {
        let seen: Vec<usize> =
            columns.finite()?.iter().map(|c| super::step::column(columns, *c, width)).collect::<Result<_, _>>()?;
        let plan = compile_member(estimator, seen.len())?;
        let classes = indices(estimator, &plan, &labels)?;
        members.push(Voter { plan, columns: Some(seen), classes, weight: 1.0, calibrators: Vec::new() });
    }
    finish(view, width, labels, members, Rule::Probabilities)
}

/// AdaBoostClassifier.
pub(super) fn adaboost(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let labels = forest::labels(view)?;
    let weights = view.attr("estimator_weights_")?.finite()?;
    let real = view.opt("algorithm").is_some_and(|a| a.text() == Ok("SAMME.R"));
    let mut members = Vec::new();
    for (member, weight) in view.attr("estimators_")?.items()?.iter().zip(weights) {
        let plan = compile_member(member, width)?;
        let classes = places(member, &plan, &labels)?;
        members.push(Voter { plan, columns: None, classes, weight, calibrators: Vec::new() });
    }
    let rule = if real { Rule::RealBoost } else { Rule::Boost };
    finish(view, width, labels, members, rule)
}

/// CalibratedClassifierCV.
pub(super) fn calibrated(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let labels = forest::labels(view)?;
    let mut members = Vec::new();
    for one in view.attr("calibrated_classifiers_")?.items()? {
        // the attribute was called base_estimator before 1.2
        let estimator = one.opt("estimator").map_or_else(|| one.attr("base_estimator"), Ok)?;
        let plan = compile_member(&estimator, width)?;
        let classes = places(&estimator, &plan, &labels)?;
        let calibrators: Vec<Calibrator> =
            one.attr("calibrators")?.items()?.iter().map(calibrator).collect::<Result<_, _>>()?;
        let expected = match calibrators.first() {
            Some(Calibrator::Temperature(_)) => 1,
            _ if labels.len() == 2 => 1,
            _ => classes.len(),
        };
        if calibrators.len() != expected {
            return Err(one.fault(format!("has {} calibrators, expected {expected}", calibrators.len())));
        }
        members.push(Voter { plan, columns: None, classes, weight: 1.0, calibrators });
    }
    finish(view, width, labels, members, Rule::Calibrated)
}

/// IsotonicRegression.
pub(super) fn isotonic(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    if width != 1 {
        return Err(view.fault(format!("takes one column, not {width}")));
    }
    let points = view.attr("X_thresholds_")?.finite()?;
    let ends = points.first().copied().zip(points.last().copied());
    // one point is the answer everywhere
    let outside = view.attr("out_of_bounds")?.text()? != "clip" && points.len() > 1;
    let learner = Isotonic { lines: calibrator(view)?, bounds: ends.filter(|_| outside) };
    let transform = super::numbers(1);
    Ok(Estimator { head: Head::Learner(Arc::new(learner)), transform, takes_missing: false })
}

fn calibrator(view: &View<'_>) -> Result<Calibrator, Fault> {
    match view.class().rsplit('.').next().unwrap_or("") {
        "_SigmoidCalibration" => {
            Ok(Calibrator::Sigmoid { slope: view.attr("a_")?.number()?, intercept: view.attr("b_")?.number()? })
        }
        "IsotonicRegression" => {
            let at = view.attr("X_thresholds_")?.finite()?;
            let values = view.attr("y_thresholds_")?.vector(at.len())?;
            if at.is_empty() || at.windows(2).any(|w| w[0] > w[1]) {
                return Err(view.fault("thresholds do not ascend"));
            }
            if view.attr("X_thresholds_")?.is_single() {
                let single = |v: Vec<f64>| v.into_iter().map(|v| v as f32).collect();
                return Ok(Calibrator::IsotonicSingle { at: single(at), values: single(values) });
            }
            Ok(Calibrator::Isotonic { at, values })
        }
        "_TemperatureScaling" => Ok(Calibrator::Temperature(view.attr("beta_")?.number()?)),
        _ => Err(view.fault(format!("{} is not supported as a calibrator", view.described()))),
    }
}

/// FixedThresholdClassifier and TunedThresholdClassifierCV.
pub(super) fn threshold(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let estimator = view.opt("estimator_").map_or_else(|| view.attr("estimator"), Ok)?;
    let member = compile_member(&estimator, width)?;
    let labels: Arc<[Label]> = member.signature().labels.clone().into();
    let probabilities = member.outputs().predict_proba;
    let wanted = view.opt("response_method");
    let method = match wanted.as_ref().map_or(Ok("auto"), |m| m.text())? {
        "predict_proba" => Response::Positive,
        "decision_function" => Response::Decision,
        _ if probabilities => Response::Positive,
        _ => Response::Decision,
    };
    let given = view.opt("best_threshold_").or_else(|| view.opt("threshold"));
    let given = given.ok_or_else(|| view.fault("has no threshold"))?;
    let threshold = match given.text() {
        Ok("auto") if method == Response::Positive => 0.5,
        Ok("auto") => 0.0,
        _ => given.number()?,
    };
    if labels.len() != 2 {
        return Err(view.fault(format!("has {} classes", labels.len())));
    }
    let first = match view.opt("pos_label") {
        Some(label) => label.label()? == labels[0].to_string(),
        None => false,
    };
    let link = if probabilities { Link::Chosen } else { Link::Index };
    let learner = Threshold { width, member, method, threshold, first, probabilities };
    let transform = OutputTransform::Classes { labels, link };
    Ok(Estimator { head: Head::Learner(Arc::new(learner)), transform, takes_missing: true })
}

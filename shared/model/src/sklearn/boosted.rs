//! Gradient boosting that starts from the answer of an estimator.

use std::sync::Arc;

use super::{Estimator, compile_member, forest, is_regressor};
use crate::artefact::View;
use crate::head::Head;
use crate::learner::{Boosted, Start};
use crate::{Fault, Label, Model};

/// How deep estimators may be nested in one that boosting starts from.
const MAX_DEPTH: usize = 8;

/// GradientBoostingRegressor; its `init_` is a constant unless it was given an estimator.
pub(super) fn regressor(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let init = view.attr("init_")?;
    if init.text() == Ok("zero") || init.class() == "sklearn.dummy.DummyRegressor" {
        return forest::boosting(view, width, false);
    }
    let start = started(&init, width)?;
    if !is_regressor(&start) {
        return Err(init.fault("is no regressor"));
    }
    let (trees, transform) = forest::stages(view, width, None, vec![0.0])?;
    let learner = Boosted { start, trees, of: Start::Number };
    Ok(Estimator { head: Head::Learner(Arc::new(learner)), transform, takes_missing: false })
}

/// GradientBoostingClassifier; its `init_` answers the shares of the classes unless it was given an estimator.
pub(super) fn classifier(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let init = view.attr("init_")?;
    let is_prior = |init: &View<'_>| {
        init.class() == "sklearn.dummy.DummyClassifier" && init.opt("strategy").is_some_and(|s| s.text() == Ok("prior"))
    };
    if init.text() == Ok("zero") || is_prior(&init) {
        return forest::boosting(view, width, true);
    }
    let labels = forest::labels(view)?;
    let start = started(&init, width)?;
    // it was fitted on the indices of the classes
    let own = start.signature().labels.iter().map(Label::number);
    if !start.outputs().predict_proba || !own.eq((0..labels.len()).map(|i| Some(i as f64))) {
        return Err(init.fault("has no probabilities of the classes"));
    }
    let (outputs, of) = match (labels.len(), view.attr("loss")?.text()?) {
        (2, "exponential") => (1, Start::HalfLogit),
        (2, _) => (1, Start::Logit),
        (classes, _) => (classes, Start::Logarithms),
    };
    let (trees, transform) = forest::stages(view, width, Some(labels), vec![0.0; outputs])?;
    let learner = Boosted { start, trees, of };
    Ok(Estimator { head: Head::Learner(Arc::new(learner)), transform, takes_missing: false })
}

fn started(init: &View<'_>, width: usize) -> Result<crate::plan::Plan, Fault> {
    if !is_exact(init, 0)? {
        return Err(init.fault(format!("initial estimator {} computes in single precision", init.described())));
    }
    compile_member(init, width)
}

/// Whether an estimator answers in double precision what it is given in single precision, as boosting does. Trees only
/// compare what they are given; other estimators of scikit-learn compute in the precision of their input.
fn is_exact(view: &View<'_>, depth: usize) -> Result<bool, Fault> {
    let modules = ["tree.", "ensemble._forest.", "ensemble._gb.", "ensemble._hist_gradient_boosting.", "dummy."];
    let class = view.class();
    let of_trees = class.strip_prefix("sklearn.").is_some_and(|c| modules.iter().any(|module| c.starts_with(module)));
    if of_trees || matches!(class.split('.').next(), Some("xgboost" | "lightgbm" | "catboost")) {
        return Ok(true);
    }
    let ensembles = ["_bagging.", "_voting.", "_weight_boosting."];
    let is_ensemble =
        class.strip_prefix("sklearn.ensemble.").is_some_and(|c| ensembles.iter().any(|module| c.starts_with(module)));
    if !is_ensemble || depth == MAX_DEPTH {
        return Ok(false);
    }
    for member in view.attr("estimators_")?.items()? {
        if !is_exact(&member, depth + 1)? {
            return Ok(false);
        }
    }
    Ok(true)
}

//! Gradient boosting that starts from the answer of an estimator.

use std::sync::Arc;

use super::{Estimator, compile_member, forest};
use crate::Fault;
use crate::artefact::View;
use crate::head::Head;
use crate::learner::Boosted;

/// GradientBoostingRegressor; its `init_` is a constant unless it was given an estimator.
pub(super) fn regressor(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let init = view.attr("init_")?;
    if init.text() == Ok("zero") || init.class() == "sklearn.dummy.DummyRegressor" {
        return forest::boosting(view, width, false);
    }
    // trees answer in double precision what they compare in single precision; other estimators compute in the latter
    let trees = ["sklearn.tree.", "sklearn.ensemble._forest."].iter().any(|module| init.class().starts_with(module));
    if !trees {
        return Err(init.fault(format!("initial estimator {} is not supported", init.kind())));
    }
    let start = compile_member(&init, width)?;
    if start.transform().values() != 1 || start.transform().task() != crate::Task::Regression {
        return Err(init.fault("is no regressor"));
    }
    let (trees, transform) = forest::stages(view, width, None, vec![0.0])?;
    let learner = Boosted { start, trees };
    Ok(Estimator { head: Head::Learner(Arc::new(learner)), transform, takes_missing: false })
}

//! Histogram gradient boosting: f64 thresholds, a direction for missing values at every split.

use std::sync::Arc;

use super::{Estimator, ensemble};
use crate::Fault;
use crate::answer::{Answer, Link};
use crate::artefact::View;
use crate::forest::{Combine, ForestBuilder, Precision, RawTree};
use crate::head::Head;

/// A fitted histogram booster.
pub(super) fn boosting(view: &View<'_>, width: usize, classifies: bool) -> Result<Estimator, Fault> {
    let start = view.attr("_baseline_prediction")?.finite()?;
    let outputs = start.len();
    let mut forest = ForestBuilder::new(width, 1, Precision::Double);
    for iteration in view.attr("_predictors")?.items()? {
        let trees = iteration.items()?;
        if trees.len() != outputs {
            return Err(iteration.fault(format!("{} trees for {outputs} outputs", trees.len())));
        }
        for tree in &trees {
            push(tree, &mut forest)?;
        }
    }
    let forest = forest.finish(outputs, Combine::Sum(start)).map_err(|e| view.fault(e))?;
    let loss = view.attr("loss")?;
    let answer = match (loss.text()?, classifies) {
        ("squared_error" | "least_squares" | "absolute_error" | "least_absolute_deviation" | "quantile", false) => {
            Answer::Number
        }
        ("poisson" | "gamma", false) => Answer::Exp,
        ("log_loss" | "binary_crossentropy" | "categorical_crossentropy", true) => {
            let link = if outputs == 1 { Link::Logit { zero_wins: false } } else { Link::Softmax };
            Answer::Classes { labels: ensemble::labels(view)?, link }
        }
        (name, _) => return Err(loss.fault(format!("loss {name:?} is not supported"))),
    };
    Ok(Estimator { head: Head::Forest(Arc::new(forest)), answer, takes_missing: true })
}

fn push(tree: &View<'_>, forest: &mut ForestBuilder) -> Result<(), Fault> {
    let view = tree.attr("nodes")?;
    let nodes = view.array()?;
    let missing = |name: &str| view.fault(format!("has no field {name}"));
    let integers = |name: &str| nodes.field_integers(name).map_err(|e| view.fault(e))?.ok_or_else(|| missing(name));
    let numbers = |name: &str| nodes.field_numbers(name).map_err(|e| view.fault(e))?.ok_or_else(|| missing(name));
    let leaf = integers("is_leaf")?;
    if integers("is_categorical")?.iter().zip(&leaf).any(|(c, leaf)| *c != 0 && *leaf == 0) {
        return Err(view.fault("categorical splits are not supported"));
    }
    let mut left = integers("left")?;
    left.iter_mut().zip(&leaf).filter(|(_, leaf)| **leaf != 0).for_each(|(l, _)| *l = -1);
    let missing_left: Vec<bool> = integers("missing_go_to_left")?.iter().map(|m| *m != 0).collect();
    let raw = RawTree {
        left: &left,
        right: &integers("right")?,
        feature: &integers("feature_idx")?,
        threshold: &numbers("num_threshold")?,
        missing_left: &missing_left,
        values: &numbers("value")?,
    };
    forest.push(&raw, 1.0).map_err(|e| tree.fault(e))
}

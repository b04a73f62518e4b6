//! Decision trees, random forests, gradient boosting.

use std::sync::Arc;

use super::{Estimator, tree};
use crate::artefact::View;
use crate::forest::{Aggregate, Forest, ForestBuilder, Precision};
use crate::head::Head;
use crate::mlmodel::MAX_WIDTH;
use crate::output_transform::{Link, OutputTransform};
use crate::{Fault, Label};

/// The most trees of a boosting stage.
const MAX_TREES: usize = 1_000_000;

/// A single tree, or a forest that averages its trees.
pub(super) fn average(view: &View<'_>, width: usize, classifier: bool) -> Result<Estimator, Fault> {
    let trees = match view.opt("estimators_") {
        Some(list) => list.items()?,
        None => vec![view.clone()],
    };
    let outputs = view.opt("n_outputs_").map(|n| n.count(MAX_WIDTH)).transpose()?.unwrap_or(1).max(1);
    let labels: Vec<Arc<[Label]>> = match (classifier, outputs) {
        (false, _) => Vec::new(),
        (true, 1) => vec![labels(view)?],
        (true, _) => super::labels_of_each(&view.attr("classes_")?)?,
    };
    let counts: Vec<usize> = if classifier { labels.iter().map(|l| l.len()).collect() } else { vec![1; outputs] };
    if counts.len() != outputs || counts.contains(&0) {
        return Err(view.fault(format!("classes of {} outputs, expected {outputs}", counts.len())));
    }
    let stride = counts.iter().sum();
    let mut forest = ForestBuilder::new(width, stride, Precision::Single);
    for one in &trees {
        tree::push(one, &counts, 1.0, &mut forest)?;
    }
    let takes_missing = !trees.is_empty() && trees.iter().all(tree::takes_missing) && forests_take_missing(view);
    let forest = forest.finish(stride, Aggregate::Mean(trees.len() as f64)).map_err(|e| view.fault(e))?;
    let transform = match labels.as_slice() {
        [] => super::numbers(outputs),
        [labels] => OutputTransform::Classes { labels: labels.clone(), link: Link::Probabilities },
        _ => OutputTransform::Each(labels.into_iter().map(|labels| (labels, Link::Probabilities)).collect()),
    };
    Ok(Estimator { head: Head::Forest(Arc::new(forest)), transform, takes_missing })
}

/// Extremely randomised trees accept missing values since scikit-learn 1.6.
fn forests_take_missing(view: &View<'_>) -> bool {
    let extra = view.class().rsplit('.').next().is_some_and(|c| c.starts_with("Extra"));
    !extra || tree::version(view).is_some_and(|v| v >= (1, 6))
}

/// Gradient boosting: the initial estimator's constant, then learning rate times leaf, stage by stage.
pub(super) fn boosting(view: &View<'_>, width: usize, classifier: bool) -> Result<Estimator, Fault> {
    let labels = if classifier { Some(labels(view)?) } else { None };
    let exponential = classifier && view.attr("loss")?.text()? == "exponential";
    let start = initial(view, labels.as_ref().map_or(0, |l| l.len()), exponential)?;
    let (forest, transform) = stages(view, width, labels, start)?;
    Ok(Estimator { head: Head::Forest(forest), transform, takes_missing: false })
}

/// The trees of gradient boosting, to which `start` is added, and what their outputs are.
pub(super) fn stages(
    view: &View<'_>,
    width: usize,
    labels: Option<Arc<[Label]>>,
    start: Vec<f64>,
) -> Result<(Arc<Forest>, OutputTransform), Fault> {
    let outputs = start.len();
    let rate = view.attr("learning_rate")?.number()?;
    if !rate.is_finite() {
        return Err(view.fault(format!("learning_rate is {rate}")));
    }
    let exponential = labels.is_some() && view.attr("loss")?.text()? == "exponential";
    let mut forest = ForestBuilder::new(width, 1, Precision::Single);
    for stage in view.attr("estimators_")?.items()? {
        let trees = stage.items()?;
        if trees.len() != outputs || trees.len() > MAX_TREES {
            return Err(stage.fault(format!("{} trees for {outputs} outputs", trees.len())));
        }
        for one in &trees {
            tree::push(one, &[1], rate, &mut forest)?;
        }
    }
    let forest = forest.finish(outputs, Aggregate::Sum(start)).map_err(|e| view.fault(e))?;
    let transform = match labels {
        None => OutputTransform::Number,
        Some(labels) => {
            let link = match (outputs, exponential) {
                (1, true) => Link::HalfLogit,
                (1, false) => Link::Logit { zero_wins: true },
                _ => Link::Softmax,
            };
            OutputTransform::Classes { labels, link }
        }
    };
    Ok((Arc::new(forest), transform))
}

/// The raw prediction before the first stage.
fn initial(view: &View<'_>, classes: usize, exponential: bool) -> Result<Vec<f64>, Fault> {
    let outputs = if classes <= 2 { 1 } else { classes };
    let init = view.attr("init_")?;
    if init.text() == Ok("zero") {
        return Ok(vec![0.0; outputs]);
    }
    match init.class() {
        "sklearn.dummy.DummyRegressor" => init.attr("constant_")?.vector(1),
        "sklearn.dummy.DummyClassifier" if init.attr("strategy")?.text()? == "prior" => {
            let priors = init.attr("class_prior_")?.vector(classes)?;
            let clip = |p: f64| p.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
            if classes == 2 {
                let p = clip(priors[1]);
                let logit = (p / (1.0 - p)).ln();
                return Ok(vec![if exponential { 0.5 * logit } else { logit }]);
            }
            let logs: Vec<f64> = priors.iter().map(|p| clip(*p).ln()).collect();
            let mean = logs.iter().sum::<f64>() / logs.len() as f64;
            Ok(logs.iter().map(|l| l - mean).collect())
        }
        _ => Err(init.fault(format!("initial estimator {} is not supported", init.kind()))),
    }
}

/// The labels of a classifier with one output.
pub(super) fn labels(view: &View<'_>) -> Result<Arc<[Label]>, Fault> {
    let labels = view.attr("classes_")?.labels()?;
    if labels.is_empty() {
        return Err(view.fault("has no classes"));
    }
    Ok(labels.into())
}

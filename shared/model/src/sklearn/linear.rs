//! Linear models: one weight per feature and output, and an intercept.

use std::sync::Arc;

use burn::tensor::DType;

use super::{Estimator, forest};
use crate::artefact::View;
use crate::head::Head;
use crate::learner::Linear;
use crate::mlmodel::MAX_WIDTH;
use crate::net::{Dense, NetBuilder};
use crate::output_transform::{Link, OutputTransform};
use crate::step::Step;
use crate::{Fault, Label};

/// Rows with more values than this are those of text and categories, which are sparse, also before an ensemble that this is
/// a member of.
const WIDE: usize = 1 << 12;

/// A linear regressor: `x w + b`.
pub(super) fn regressor(view: &View<'_>, width: usize, steps: &[Step]) -> Result<Estimator, Fault> {
    let outputs = targets(view, width)?;
    let head = layer(view, width, outputs, steps)?;
    Ok(Estimator { head, transform: super::numbers(outputs), takes_missing: false })
}

/// The number of targets of a regressor, which is the number of rows of its coefficients.
fn targets(view: &View<'_>, width: usize) -> Result<usize, Fault> {
    let shape = view.attr("coef_")?.matrix_shape()?;
    match shape {
        [outputs, columns] if columns == width && (1..=MAX_WIDTH).contains(&outputs) => Ok(outputs),
        _ => Err(view.fault(format!("coef_ has shape {shape:?} for {width} columns"))),
    }
}

/// Generalised linear models: the link is the logarithm, or the identity.
pub(super) fn generalized(view: &View<'_>, name: &str, width: usize, steps: &[Step]) -> Result<Estimator, Fault> {
    let link = view.opt("link");
    let identity = match link.as_ref().map_or(Ok("auto"), |l| l.text())? {
        "identity" => true,
        "log" => false,
        _ => name == "TweedieRegressor" && view.attr("power")?.number()? <= 0.0,
    };
    let transform = if identity { OutputTransform::Number } else { OutputTransform::Exp };
    Ok(Estimator { head: layer(view, width, 1, steps)?, transform, takes_missing: false })
}

/// Partial least squares: coefficients of centred columns.
pub(super) fn partial_least_squares(view: &View<'_>, width: usize, steps: &mut Vec<Step>) -> Result<Estimator, Fault> {
    let outputs = targets(view, width)?;
    let head = layer(view, width, outputs, steps)?;
    steps.push(Step::Scale { center: Some(view.attr("_x_mean")?.vector(width)?), scale: None, clip: None });
    Ok(Estimator { head, transform: super::numbers(outputs), takes_missing: false })
}

/// Logistic regression: sigmoid for two classes, softmax in multinomial fits; softmax, or (one-vs-rest fits before 1.8)
/// normalised sigmoids, for more.
pub(super) fn logistic(view: &View<'_>, width: usize, steps: &[Step]) -> Result<Estimator, Fault> {
    let labels = forest::labels(view)?;
    let multi_class = view.opt("multi_class").and_then(|m| m.text().ok()).unwrap_or("auto");
    let liblinear = view.opt("solver").is_some_and(|s| s.text() == Ok("liblinear"));
    let link = match labels.len() {
        0 | 1 => return Err(view.fault("has fewer than two classes")),
        2 if multi_class == "multinomial" => Link::Opposites,
        2 => Link::Logit { zero_wins: false },
        // the parameter's default was called "warn" until 0.21, and "deprecated" from 1.5 to 1.7
        _ if matches!(multi_class, "ovr" | "warn") => Link::OneVsRest,
        _ if matches!(multi_class, "auto" | "deprecated") && liblinear => Link::OneVsRest,
        _ => Link::Softmax,
    };
    let outputs = if labels.len() == 2 { 1 } else { labels.len() };
    Ok(Estimator {
        head: layer(view, width, outputs, steps)?,
        transform: OutputTransform::Classes { labels, link },
        takes_missing: false,
    })
}

/// Linear classifiers whose scores are distances; SGD with log loss or modified Huber loss has probabilities.
pub(super) fn classifier(view: &View<'_>, width: usize, steps: &[Step]) -> Result<Estimator, Fault> {
    let kind = view.opt("_label_binarizer").and_then(|b| b.opt("y_type_"));
    if kind.is_some_and(|kind| kind.text().is_ok_and(|kind| kind.starts_with("multilabel"))) {
        let outputs = targets(view, width)?;
        let labels: Arc<[Label]> = [Label::Integer(0), Label::Integer(1)].into();
        let transform = OutputTransform::Each(vec![(labels, Link::Decision); outputs]);
        return Ok(Estimator { head: layer(view, width, outputs, steps)?, transform, takes_missing: false });
    }
    let labels = forest::labels(view)?;
    if labels.len() < 2 {
        return Err(view.fault("has fewer than two classes"));
    }
    // perceptrons and support vector machines have other losses in the same attribute
    let sgd = view.class().ends_with(".SGDClassifier");
    let loss = view.opt("loss").filter(|_| sgd).and_then(|l| l.text().ok()).unwrap_or("");
    let link = match (loss, labels.len()) {
        ("log_loss" | "log", 2) => Link::Logit { zero_wins: false },
        ("log_loss" | "log", _) => Link::OneVsRest,
        ("modified_huber", _) => Link::Clipped,
        _ => Link::Decision,
    };
    let outputs = if labels.len() == 2 { 1 } else { labels.len() };
    Ok(Estimator {
        head: layer(view, width, outputs, steps)?,
        transform: OutputTransform::Classes { labels, link },
        takes_missing: false,
    })
}

/// `coef_` is `[outputs, width]` (or `[width]`), `intercept_` one number, or one per output.
fn layer(view: &View<'_>, width: usize, outputs: usize, steps: &[Step]) -> Result<Head, Fault> {
    let (coef, shape) = view.attr("coef_")?.matrix()?;
    if outputs.checked_mul(width) != Some(coef.len()) {
        return Err(view.fault(format!("coef_ has shape {shape:?}, expected [{outputs}, {width}]")));
    }
    if let Some(at) = coef.iter().position(|c| !c.is_finite()) {
        return Err(view.fault(format!("coef_: value {at} is {}, not finite", coef[at])));
    }
    let mut bias = view.attr("intercept_")?.finite()?;
    if bias.len() == 1 && outputs > 1 {
        bias = vec![bias[0]; outputs];
    }
    if bias.len() != outputs {
        return Err(view.fault(format!("{} intercepts for {outputs} outputs", bias.len())));
    }
    if width > WIDE || steps.iter().any(Step::gives_sparse) {
        let linear = Linear::new(width, &coef, bias).map_err(|e| view.fault(e))?;
        return Ok(Head::Learner(Arc::new(linear)));
    }
    let weight = (0..width * outputs).map(|i| coef[(i % outputs) * width + i / outputs]).collect();
    let mut net = NetBuilder::new(width, DType::F64);
    net.linear(Dense { inputs: width, outputs, weight, bias }).map_err(|e| view.fault(e))?;
    net.finish().map(Head::Net).map_err(|e| view.fault(e))
}

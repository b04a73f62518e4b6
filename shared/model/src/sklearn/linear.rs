//! Linear models: one weight per feature and output, and an intercept.

use burn::tensor::DType;

use super::{Estimator, forest};
use crate::Fault;
use crate::artefact::View;
use crate::head::Head;
use crate::net::{Dense, NetBuilder};
use crate::output_transform::{Link, OutputTransform};

/// A linear regressor: `x w + b`.
pub(super) fn regressor(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let head = layer(view, width, 1)?;
    Ok(Estimator { head, transform: OutputTransform::Number, takes_missing: false })
}

/// Logistic regression: sigmoid for two classes; softmax, or (old one-vs-rest fits) normalised sigmoids, for more.
pub(super) fn logistic(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let labels = forest::labels(view)?;
    let multi_class = view.opt("multi_class").and_then(|m| m.text().ok()).unwrap_or("auto");
    let liblinear = view.opt("solver").is_some_and(|s| s.text() == Ok("liblinear"));
    let link = match labels.len() {
        0 | 1 => return Err(view.fault("has fewer than two classes")),
        2 if multi_class == "multinomial" => {
            return Err(view.fault("multinomial fits of two classes are not supported"));
        }
        2 => Link::Logit { zero_wins: false },
        _ if multi_class == "ovr" || (multi_class == "auto" && liblinear) => Link::OneVsRest,
        _ => Link::Softmax,
    };
    let outputs = if labels.len() == 2 { 1 } else { labels.len() };
    Ok(Estimator {
        head: layer(view, width, outputs)?,
        transform: OutputTransform::Classes { labels, link },
        takes_missing: false,
    })
}

/// Linear classifiers whose scores are distances; SGD with log loss or modified Huber loss has probabilities.
pub(super) fn classifier(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
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
        head: layer(view, width, outputs)?,
        transform: OutputTransform::Classes { labels, link },
        takes_missing: false,
    })
}

/// `coef_` is `[outputs, width]` (or `[width]`), `intercept_` one number, or one per output.
fn layer(view: &View<'_>, width: usize, outputs: usize) -> Result<Head, Fault> {
    if let Ok(&[targets, _]) = view.attr("coef_")?.array().map(|a| &*a.shape)
        && outputs == 1
        && targets > 1
    {
        return Err(view.fault(format!("{targets} outputs are not supported")));
    }
    let coef = view.attr("coef_")?.vector(width * outputs)?;
    let mut bias = view.attr("intercept_")?.finite()?;
    if bias.len() == 1 && outputs > 1 {
        bias = vec![bias[0]; outputs];
    }
    let weight = (0..width * outputs).map(|i| coef[(i % outputs) * width + i / outputs]).collect();
    let mut net = NetBuilder::new(width, DType::F64);
    net.linear(Dense { inputs: width, outputs, weight, bias }).map_err(|e| view.fault(e))?;
    net.finish().map(Head::Net).map_err(|e| view.fault(e))
}

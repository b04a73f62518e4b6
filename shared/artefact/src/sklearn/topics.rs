//! Reads decompositions that are not linear: LatentDirichletAllocation, NMF, MiniBatchNMF.

use std::sync::Arc;

use super::reduce::{matrix, products, square_bytes};
use crate::Fault;
use crate::python::View;
use crate::step::{Descent, Factors, MAX_ROUNDS, Step, Topics};

fn tolerance(view: &View<'_>, name: &str) -> Result<f64, Fault> {
    let tolerance = view.attr(name)?;
    let value = tolerance.number()?;
    if value >= 0.0 { Ok(value) } else { Err(tolerance.fault(format!("is {value}"))) }
}

/// How many rounds a row may take, each of which goes through `values` values at most.
fn rounds(view: &View<'_>, values: usize) -> Result<usize, Fault> {
    /// The most values in all rounds of a row, which take some seconds.
    const MAX_VALUES: usize = 1 << 34;
    let rounds = view.count(MAX_ROUNDS)?;
    match rounds.checked_mul(values).is_some_and(|values| values <= MAX_VALUES) {
        true => Ok(rounds),
        false => Err(view.fault(format!("allows {rounds} rounds of {values} values for each row"))),
    }
}

/// A matrix of `outputs x width`, transposed.
fn transposed(values: &[f64], width: usize) -> Vec<f64> {
    let outputs = values.len() / width;
    (0..values.len()).map(|i| values[(i % outputs) * width + i / outputs]).collect()
}

/// A LatentDirichletAllocation.
pub(super) fn topics(view: &View<'_>, width: usize) -> Result<Step, Fault> {
    // in single precision the rounds stop elsewhere
    let words = view.attr("exp_dirichlet_component_")?;
    if words.is_single() {
        return Err(words.fault("was fitted in single precision"));
    }
    let words = matrix(&words, None, Some(width))?;
    let topics = words.len() / width;
    view.allocate(size_of_val(words.as_slice()))?;
    let prior = view.attr("doc_topic_prior_")?.number()?;
    if !(prior > 0.0 && prior.is_finite()) || words.iter().any(|w| *w < 0.0) {
        return Err(view.fault(format!("has a prior of {prior} or shares below zero")));
    }
    let rounds = rounds(&view.attr("max_doc_update_iter")?, words.len())?;
    let tolerance = tolerance(view, "mean_change_tol")?;
    Ok(Step::Other(Arc::new(Topics { topics, words: transposed(&words, width), prior, rounds, tolerance })))
}

/// An NMF or a MiniBatchNMF.
pub(super) fn factors(view: &View<'_>, name: &str, width: usize) -> Result<Step, Fault> {
    let components_view = view.attr("components_")?;
    if components_view.is_single() {
        return Err(components_view.fault("was fitted in single precision"));
    }
    let components = matrix(&components_view, None, Some(width))?;
    let factors = components.len() / width;
    view.allocate(size_of_val(components.as_slice()))?;
    if components.iter().any(|h| *h < 0.0) {
        return Err(components_view.fault("has values below zero"));
    }
    let loss = view.attr("beta_loss")?;
    let kullback_leibler = match (loss.text(), loss.number()) {
        (Ok("frobenius"), _) | (_, Ok(2.0)) => false,
        (Ok("kullback-leibler"), _) | (_, Ok(1.0)) => true,
        (text, _) => return Err(loss.fault(format!("beta_loss {} is not supported", text.unwrap_or("of this value")))),
    };
    let solver = view.opt("solver");
    let descent = match solver.as_ref().map(|s| s.text()).transpose()? {
        _ if name == "MiniBatchNMF" => Descent::UntilSettled { kullback_leibler },
        Some("mu") => Descent::Products { kullback_leibler },
        Some("cd") if !kullback_leibler => Descent::Coordinates,
        other => return Err(view.fault(format!("solver {other:?} is not supported"))),
    };
    if descent == Descent::Coordinates && view.opt("shuffle").is_some_and(|s| s.flag() != Ok(false)) {
        return Err(view.fault("draws a random order of the components (shuffle)"));
    }
    square_bytes(view, factors)?;
    // coordinates need no more than the products of the components
    let values = if descent == Descent::Coordinates { factors * factors } else { components.len() };
    let rounds = rounds(&view.opt("transform_max_iter").map_or_else(|| view.attr("max_iter"), Ok)?, values)?;
    // named alpha before 1.0, when the penalty was not scaled by the number of columns
    let (alpha, ratio) = (view.attr("alpha_W")?.number()?, view.attr("l1_ratio")?.number()?);
    let penalty = alpha * width as f64;
    if !penalty.is_finite() || !(0.0..=1.0).contains(&ratio) {
        return Err(view.fault(format!("has a penalty of {alpha} with a ratio of {ratio}")));
    }
    view.spend_work(factors * components.len() / 4)?;
    let products = products(&components, &components, width);
    let sums = components.chunks_exact(width).map(|line| line.iter().sum()).collect();
    let tolerance = tolerance(view, "tol")?;
    let (l1, l2) = (penalty * ratio, penalty * (1.0 - ratio));
    let weight = transposed(&components, width);
    Ok(Step::Other(Arc::new(Factors { factors, weight, products, sums, descent, rounds, tolerance, l1, l2 })))
}

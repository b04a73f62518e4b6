//! Support vector machines (libsvm).

use std::sync::Arc;

use super::{Estimator, forest};
use crate::Fault;
use crate::artefact::View;
use crate::head::Head;
use crate::kernel_machine::{Kernel, KernelMachine};
use crate::learner::{Platt, SupportClassifier};
use crate::output_transform::{Link, OutputTransform};
use crate::step;

/// The kernel of a fitted machine.
pub(super) fn kernel(view: &View<'_>, width: usize) -> Result<step::Kernel, Fault> {
    forebay_artefact::sklearn::kernel::read(view, width, Some(view.attr("_gamma")?.number()?))
}

/// SVC and NuSVC.
pub(super) fn classifier(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let labels = forest::labels(view)?;
    let n = labels.len();
    if n < 2 {
        return Err(view.fault("has fewer than two classes"));
    }
    let pairs = n * (n - 1) / 2;
    let (vectors, [total, columns]) = view.attr("support_vectors_")?.matrix()?;
    let counts_view = view.attr("_n_support")?;
    let counts: Vec<usize> = counts_view.numbers()?.iter().map(|c| *c as usize).collect();
    let sum = counts.iter().try_fold(0usize, |s, c| s.checked_add(*c));
    if columns != width || counts.len() != n || sum != Some(total) {
        return Err(counts_view.fault(format!("counts of {} classes for {total} vectors", counts.len())));
    }
    let weights = super::matrix(&view.attr("_dual_coef_")?, n - 1, total)?;
    let intercepts = view.attr("_intercept_")?.vector(pairs)?;
    let numbers = |name: &str| view.opt(name).map(|v| v.finite()).transpose();
    let platt = match (numbers("_probA")?, numbers("_probB")?) {
        (Some(slopes), Some(intercepts)) if slopes.len() == pairs && intercepts.len() == pairs => {
            Some(Platt { slopes, intercepts })
        }
        _ => None,
    };
    let link = if platt.is_some() { Link::Chosen } else { Link::Index };
    let one_vs_rest = view.opt("decision_function_shape").is_none_or(|s| s.text() != Ok("ovo"));
    let break_ties = view.opt("break_ties").map(|b| b.flag()).transpose()?.unwrap_or(false);
    let kernel = kernel(view, width)?;
    let machine =
        SupportClassifier { kernel, width, vectors, counts, weights, intercepts, platt, one_vs_rest, break_ties };
    let transform = OutputTransform::Classes { labels, link };
    Ok(Estimator { head: Head::Learner(Arc::new(machine)), transform, takes_missing: false })
}

/// SVR and NuSVR with one of libsvm's kernels.
pub(super) fn regressor(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let gamma = || view.attr("_gamma")?.number();
    let coef0 = || view.attr("coef0")?.number();
    let kernel_view = view.attr("kernel")?;
    let kernel = match kernel_view.word()? {
        "linear" => Kernel::Linear,
        "rbf" => Kernel::Rbf { gamma: gamma()? },
        "poly" => {
            let degree = view.attr("degree")?.count(64)? as i32;
            Kernel::Polynomial { gamma: gamma()?, coef0: coef0()?, degree }
        }
        "sigmoid" => Kernel::Sigmoid { gamma: gamma()?, coef0: coef0()? },
        other => return Err(kernel_view.fault(format!("kernel {other:?} is not supported"))),
    };
    // sparse where the machine was fitted on sparse rows
    let weights = view.attr("_dual_coef_")?;
    let (_, [_, count]) = weights.matrix()?;
    let (weights, vectors) =
        (super::matrix(&weights, 1, count)?, super::matrix(&view.attr("support_vectors_")?, count, width)?);
    let intercept = view.attr("_intercept_")?.vector(1)?[0];
    let machine = KernelMachine::new(kernel, width, vectors, weights, intercept).map_err(|e| view.fault(e))?;
    Ok(Estimator { head: Head::KernelMachine(machine), transform: OutputTransform::Number, takes_missing: false })
}

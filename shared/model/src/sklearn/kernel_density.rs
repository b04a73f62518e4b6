//! KernelDensity.

use std::sync::Arc;

use super::Estimator;
use crate::Fault;
use crate::artefact::View;
use crate::head::Head;
use crate::learner::{Bump, KernelDensity, Metric, Search};
use crate::output_transform::OutputTransform;

/// A fitted estimator, whose tree holds the rows that it was fitted on.
pub(super) fn read(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let tree = view.attr("tree_")?;
    let state = tree.state_items()?;
    // the rows come first and their weights last
    let ([data, ..], [.., weights]) = (state.as_slice(), state.as_slice()) else {
        return Err(tree.fault("has no rows"));
    };
    let (rows, [count, columns]) = data.matrix()?;
    if columns != width || count == 0 || rows.iter().any(|v| !v.is_finite()) {
        return Err(data.fault(format!("has {count} rows of {columns} columns, expected {width}")));
    }
    let (weights, total) = match weights.is_none() {
        true => (Vec::new(), count as f64),
        false => {
            let given = weights.vector(count)?;
            let total: f64 = given.iter().sum();
            if given.iter().any(|w| *w < 0.0) || !(total > 0.0 && total.is_finite()) {
                return Err(weights.fault("are no weights"));
            }
            (given.iter().map(|w| w.ln()).collect(), total)
        }
    };
    let kernel = view.attr("kernel")?;
    let bump = match kernel.word()? {
        "gaussian" => Bump::Gaussian,
        "tophat" => Bump::Tophat,
        "epanechnikov" => Bump::Epanechnikov,
        "exponential" => Bump::Exponential,
        "linear" => Bump::Linear,
        "cosine" => Bump::Cosine,
        other => return Err(kernel.fault(format!("kernel {other:?} is not supported"))),
    };
    // called bandwidth alone before 1.0
    let bandwidth_view = view.opt("bandwidth_").map_or_else(|| view.attr("bandwidth"), Ok)?;
    let bandwidth = bandwidth_view.number()?;
    if !(bandwidth > 0.0 && bandwidth.is_finite()) {
        return Err(bandwidth_view.fault(format!("is {bandwidth}")));
    }
    let search = Search::scan(width, rows, metric(view, width)?);
    let density = KernelDensity { search, weights, total: total.ln(), bump, bandwidth };
    Ok(Estimator { head: Head::Learner(Arc::new(density)), transform: OutputTransform::Number, takes_missing: false })
}

fn metric(view: &View<'_>, width: usize) -> Result<Metric, Fault> {
    let metric = view.attr("metric")?;
    if view.opt("metric_params").is_some_and(|parameters| parameters.entry_count() > 0) {
        return Err(metric.fault("parameters of the metric are not supported"));
    }
    Ok(match metric.word()? {
        "euclidean" | "l2" | "minkowski" | "p" => Metric::Euclidean,
        "manhattan" | "cityblock" | "l1" => Metric::Manhattan,
        "chebyshev" | "infinity" => Metric::Chebyshev,
        "haversine" if width == 2 => Metric::Haversine,
        other => return Err(metric.fault(format!("metric {other:?} is not supported"))),
    })
}

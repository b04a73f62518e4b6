//! Reads feature maps of kernels between histograms and of polynomials, and clusters of columns.

use std::sync::Arc;

use super::reduce::matrix;
use super::step::index;
use crate::Fault;
use crate::python::View;
use crate::step::{OutputCurve, Pool, Pooling, Projection, Shifted, Sketch, Step};

/// A SkewedChi2Sampler.
pub(super) fn skewed_chi2(view: &View<'_>, width: usize) -> Result<Step, Fault> {
    let by = view.attr("skewedness")?.number()?;
    let weight = matrix(&view.attr("random_weights_")?, Some(width), None)?;
    let outputs = weight.len() / width;
    let bias = Some(view.attr("random_offset_")?.vector(outputs)?);
    let factor = Some(vec![2f64.sqrt() / (outputs as f64).sqrt(); outputs]);
    let empty = Projection::by_components("SkewedChi2", 0, &[]);
    let then = Projection { outputs, weight, bias, factor, curve: OutputCurve::Cosine, ..empty };
    if !by.is_finite() {
        return Err(view.fault(format!("shifts by {by}")));
    }
    Ok(Step::Other(Arc::new(Shifted { by, then })))
}

/// A PolynomialCountSketch.
pub(super) fn sketch(view: &View<'_>, width: usize) -> Result<Step, Fault> {
    /// The most components, which are convolved pair by pair.
    const MAX_COMPONENTS: usize = 4096;
    let outputs = view.attr("n_components")?.count(MAX_COMPONENTS)?;
    let degree = view.attr("degree")?.count(32)?;
    view.spend_work(degree * outputs * outputs)?;
    let (gamma, coef0) = (view.attr("gamma")?.number()?, view.attr("coef0")?.number()?);
    let constant = (coef0 != 0.0).then(|| coef0.sqrt());
    let places = width + usize::from(constant.is_some());
    let indices_view = view.attr("indexHash_")?;
    let indices = matrix(&indices_view, Some(degree), Some(places))?;
    let signs = matrix(&view.attr("bitHash_")?, Some(degree), Some(places))?;
    let place = |at: &f64| index(*at, outputs).map_err(|e| indices_view.fault(e));
    let indices: Vec<usize> = indices.iter().map(place).collect::<Result<_, _>>()?;
    let pairs: Vec<(usize, f64)> = indices.into_iter().zip(signs).collect();
    let factor = gamma.sqrt();
    if !factor.is_finite() || constant.is_some_and(|c| !c.is_finite()) {
        return Err(view.fault(format!("has a gamma of {gamma} and a coef0 of {coef0}")));
    }
    let sketches = pairs.chunks_exact(places).map(<[_]>::to_vec).collect();
    Ok(Step::Other(Arc::new(Sketch { outputs, factor, sketches, constant })))
}

/// A FeatureAgglomeration.
pub(super) fn pool(view: &View<'_>, width: usize) -> Result<Step, Fault> {
    let function = view.attr("pooling_func")?;
    let pooling = match function.class() {
        "numpy.mean" => Pooling::Mean,
        "numpy.median" => Pooling::Median,
        "numpy.min" | "numpy.amin" => Pooling::Lowest,
        "numpy.max" | "numpy.amax" => Pooling::Highest,
        "numpy.sum" => Pooling::Sum,
        _ => return Err(function.fault(format!("pooling_func is {}; no code is run here", function.kind()))),
    };
    let labels = view.attr("labels_")?;
    let of = labels.vector(width)?;
    let mut clusters = Vec::new();
    for (column, label) in of.iter().enumerate() {
        let label = index(*label, width).map_err(|e| labels.fault(e))?;
        if clusters.len() <= label {
            clusters.resize(label + 1, Vec::new());
        }
        clusters[label].push(column);
    }
    if clusters.iter().any(Vec::is_empty) {
        return Err(labels.fault("leaves a cluster without columns"));
    }
    Ok(Step::Other(Arc::new(Pool { clusters, pooling })))
}

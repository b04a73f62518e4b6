//! Outlier detectors.

use std::sync::Arc;

use super::{Estimator, svm, tree};
use crate::artefact::View;
use crate::forest::{Aggregate, ForestBuilder, Precision, RawTree};
use crate::head::Head;
use crate::learner::{Detector, Normality};
use crate::output_transform::{Link, OutputTransform};
use crate::{Fault, Label};

/// A detector, whose labels are -1 and 1.
pub(super) fn estimator(detector: Detector, takes_missing: bool) -> Estimator {
    let labels = [Label::Integer(-1), Label::Integer(1)].into();
    let transform = OutputTransform::Classes { labels, link: Link::Index };
    Estimator { head: Head::Learner(Arc::new(detector)), transform, takes_missing }
}

/// The average path length in a search tree of as many rows.
fn path_length(rows: f64) -> f64 {
    /// The Euler-Mascheroni constant.
    const EULER: f64 = 0.577_215_664_901_532_9;
    if rows <= 1.0 {
        0.0
    } else if rows == 2.0 {
        1.0
    } else {
        2.0 * ((rows - 1.0).ln() + EULER) - 2.0 * (rows - 1.0) / rows
    }
}

/// IsolationForest: trees whose leaves hold the depth at which they isolate a row.
pub(super) fn isolation(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let trees = view.attr("estimators_")?.items()?;
    let columns = view.attr("estimators_features_")?.items()?;
    if trees.len() != columns.len() || trees.is_empty() {
        return Err(view.fault(format!("{} trees for {} sets of columns", trees.len(), columns.len())));
    }
    let mut forest = ForestBuilder::new(width, 1, Precision::Single);
    for (one, columns) in trees.iter().zip(&columns) {
        push(one, columns, width, &mut forest)?;
    }
    let forest = forest.finish(1, Aggregate::Sum(vec![0.0])).map_err(|e| view.fault(e))?;
    let sample = view.opt("_max_samples").map_or_else(|| view.attr("max_samples_"), Ok)?.number()?;
    let usual = trees.len() as f64 * path_length(sample);
    let offset = view.attr("offset_")?.number()?;
    let normality = Normality::Isolation { forest: Arc::new(forest), usual };
    Ok(estimator(Detector { normality, offset, border_is_out: false }, trees.iter().all(tree::takes_missing)))
}

fn push(one: &View<'_>, columns: &View<'_>, width: usize, forest: &mut ForestBuilder) -> Result<(), Fault> {
    let seen: Vec<usize> =
        columns.finite()?.iter().map(|c| super::step::column(columns, *c, width)).collect::<Result<_, _>>()?;
    let view = one.attr("tree_")?.attr("nodes")?;
    let nodes = view.records()?;
    let (left, right) = (nodes.integers("left_child")?, nodes.integers("right_child")?);
    let rows = nodes.integers("n_node_samples")?;
    let mut feature = nodes.integers("feature")?;
    for (f, left) in feature.iter_mut().zip(&left).filter(|(_, left)| **left >= 0) {
        let column = usize::try_from(*f).ok().and_then(|f| seen.get(f));
        *f = *column.ok_or_else(|| view.fault(format!("node {left}: feature {f} of {}", seen.len())))? as i64;
    }
    let threshold = nodes.numbers("threshold")?;
    let direction = nodes.integers_if_any("missing_go_to_left")?;
    let missing_left: Vec<bool> = direction.iter().map(|v| *v != 0).collect();
    // children follow their parents
    let mut depth = vec![0.0; left.len()];
    for at in 0..left.len() {
        for child in [left[at], right[at]] {
            if let Some(d) = usize::try_from(child).ok().filter(|c| *c > at && *c < depth.len()) {
                depth[d] = depth[at] + 1.0;
            }
        }
    }
    let values: Vec<f64> = depth.iter().zip(&rows).map(|(d, n)| d + path_length(*n as f64)).collect();
    let raw = RawTree {
        left: &left,
        right: &right,
        feature: &feature,
        threshold: &threshold,
        missing_left: &missing_left,
        sets: None,
        rules: &[],
        values: &values,
    };
    forest.push(&raw, 1.0).map_err(|e| one.fault(e))
}

/// EllipticEnvelope.
pub(super) fn ellipse(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let mean = view.attr("location_")?.vector(width)?;
    let precision = super::matrix(&view.attr("precision_")?, width, width)?;
    let offset = view.attr("offset_")?.number()?;
    Ok(estimator(Detector { normality: Normality::Ellipse { mean, precision }, offset, border_is_out: false }, false))
}

/// OneClassSVM.
pub(super) fn one_class(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let kernel = svm::kernel(view, width)?;
    let (vectors, [count, columns]) = view.attr("support_vectors_")?.matrix()?;
    if columns != width || count == 0 {
        return Err(view.fault(format!("has vectors of {columns} columns, expected {width}")));
    }
    let weights = super::matrix(&view.attr("_dual_coef_")?, 1, count)?;
    let offset = -view.attr("_intercept_")?.vector(1)?[0];
    let normality = Normality::Machine { kernel, width, vectors, weights };
    Ok(estimator(Detector { normality, offset, border_is_out: true }, false))
}

/// SGDOneClassSVM.
pub(super) fn one_class_linear(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let weight = view.attr("coef_")?.vector(width)?;
    let offset = view.attr("offset_")?.vector(1)?[0];
    Ok(estimator(Detector { normality: Normality::Plane { weight }, offset, border_is_out: false }, false))
}

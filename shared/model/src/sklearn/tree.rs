//! scikit-learn's `Tree`: a record and a vector of values per node.

use crate::Fault;
use crate::artefact::View;
use crate::forest::{ForestBuilder, RawTree};

/// The first version whose classification trees store fractions instead of weighted counts.
const FRACTIONS_SINCE: (u32, u32) = (1, 3);

/// Adds the `tree_` of a decision tree to a forest whose leaves hold as many values of each output.
///
/// # Errors
/// A [`Fault`] that names the place when a field is missing or has the wrong type, or the builder rejects the tree.
pub(super) fn push(
    estimator: &View<'_>,
    counts: &[usize],
    scale: f64,
    forest: &mut ForestBuilder,
) -> Result<(), Fault> {
    let tree = estimator.attr("tree_")?;
    let nodes_view = tree.attr("nodes")?;
    let nodes = nodes_view.records()?;
    let left = nodes.integers("left_child")?;
    let right = nodes.integers("right_child")?;
    let feature = nodes.integers("feature")?;
    let threshold = nodes.numbers("threshold")?;
    // trees from before 1.3 have no direction for missing values
    let direction = nodes.integers_if_any("missing_go_to_left")?;
    let missing_left: Vec<bool> = direction.iter().map(|v| *v != 0).collect();
    let values_view = tree.attr("values")?;
    let mut values = values_view.numbers()?;
    let widest = counts.iter().copied().max().unwrap_or(1);
    match values_view.array()?.shape.as_slice() {
        [n, outputs, classes] if *n == left.len() && *outputs == counts.len() && *classes == widest => {}
        shape => return Err(values_view.fault(format!("shape {shape:?} does not fit {} nodes", left.len()))),
    }
    if widest > 1 && version(estimator).is_some_and(|v| v < FRACTIONS_SINCE) {
        for node in values.chunks_exact_mut(widest) {
            let sum: f64 = node.iter().sum();
            if sum != 0.0 {
                node.iter_mut().for_each(|v| *v /= sum);
            }
        }
    }
    if counts.iter().any(|c| *c != widest) {
        // outputs with fewer classes are padded
        let padded = values.chunks_exact(widest).enumerate();
        values = padded.flat_map(|(i, line)| &line[..counts[i % counts.len()]]).copied().collect();
    }
    let raw = RawTree {
        left: &left,
        right: &right,
        feature: &feature,
        threshold: &threshold,
        missing_left: &missing_left,
        rules: &[],
        sets: None,
        values: &values,
    };
    forest.push(&raw, scale).map_err(|e| tree.fault(e))
}

/// Whether the trees of this artefact accept missing values: then their nodes have a direction for them.
pub(super) fn takes_missing(estimator: &View<'_>) -> bool {
    let nodes = estimator.opt("tree_").and_then(|t| t.opt("nodes"));
    let has_direction =
        nodes.is_some_and(|n| n.array().is_ok_and(|a| matches!(a.field_integers("missing_go_to_left"), Ok(Some(_)))));
    has_direction && estimator.opt("monotonic_cst").is_none()
}

/// The major and minor version of scikit-learn that an estimator was fitted with.
pub(super) fn version(estimator: &View<'_>) -> Option<(u32, u32)> {
    let version = estimator.opt("_sklearn_version")?;
    let mut parts = version.text().ok()?.split('.').map(|p| p.parse::<u32>().ok());
    Some((parts.next()??, parts.next()??))
}

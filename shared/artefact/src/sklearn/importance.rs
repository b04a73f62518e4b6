//! The importance of each column in a fitted estimator: its coefficients, or the impurity that its splits remove.

use crate::Fault;
use crate::python::View;
use crate::sklearn::Importances;

/// One importance per column, as SelectFromModel computes them.
pub(super) fn of(estimator: &View<'_>, getter: &str, order: f64, width: usize) -> Result<Importances, Fault> {
    let of_library = matches!(estimator.class().split('.').next(), Some("xgboost" | "lightgbm" | "catboost"));
    if of_library && matches!(getter, "auto" | "feature_importances_") {
        let importances = estimator.estimators()?.importances(estimator, width)?;
        return importances.ok_or_else(|| estimator.fault(format!("{} has no importances", estimator.kind())));
    }
    of_sklearn(estimator, getter, order, width).map(|values| Importances { values, single: false })
}

fn of_sklearn(estimator: &View<'_>, getter: &str, order: f64, width: usize) -> Result<Vec<f64>, Fault> {
    let name = match getter {
        "auto" if estimator.opt("coef_").is_some() => "coef_",
        "auto" => "feature_importances_",
        other => other,
    };
    if name == "feature_importances_" {
        return of_trees(estimator, width);
    }
    let coefficients = estimator.attr(name)?;
    let values = coefficients.finite()?;
    if width == 0 || values.is_empty() || values.len() % width != 0 {
        return Err(coefficients.fault(format!("has {} values for {width} columns", values.len())));
    }
    let rows = values.len() / width;
    let column = |c: usize| (0..rows).map(move |r| r * width + c);
    Ok((0..width)
        .map(|c| {
            let size = column(c).map(|i| values[i].abs());
            if rows == 1 || order == 1.0 {
                size.sum()
            } else if order.is_infinite() {
                size.fold(0.0, f64::max)
            } else {
                size.map(|v| v.powf(order)).sum::<f64>().powf(1.0 / order)
            }
        })
        .collect())
}

fn normalised(mut sums: Vec<f64>) -> Vec<f64> {
    let total: f64 = sums.iter().sum();
    if total > 0.0 {
        sums.iter_mut().for_each(|s| *s /= total);
    }
    sums
}

/// The importances of a tree, of a forest (the mean of its trees') or of gradient boosting.
fn of_trees(estimator: &View<'_>, width: usize) -> Result<Vec<f64>, Fault> {
    if estimator.opt("tree_").is_some() {
        return Ok(normalised(tree(estimator, width)?.0));
    }
    let boosting = estimator.class().contains("GradientBoosting");
    let mut trees = Vec::new();
    for member in estimator.attr("estimators_")?.items()? {
        match member.items() {
            Ok(stage) => trees.extend(stage),
            Err(_) => trees.push(member),
        }
    }
    let weights = match estimator.opt("estimator_weights_") {
        Some(weights) => Some(weights.vector(weights.numbers()?.len())?),
        None => None,
    };
    let (mut sums, mut count) = (vec![0.0; width], 0.0);
    for (i, one) in trees.iter().enumerate() {
        let (own, nodes) = tree(one, width)?;
        if nodes <= 1 {
            continue;
        }
        let own = if boosting { own } else { normalised(own) };
        let weight = weights.as_ref().and_then(|w| w.get(i)).copied().unwrap_or(1.0);
        sums.iter_mut().zip(own).for_each(|(s, v)| *s += weight * v);
        count += weight;
    }
    if count > 0.0 {
        sums.iter_mut().for_each(|s| *s /= count);
    }
    Ok(normalised(sums))
}

/// The weighted decrease of impurity by each column, and the number of nodes.
fn tree(estimator: &View<'_>, width: usize) -> Result<(Vec<f64>, usize), Fault> {
    let nodes_view = estimator.attr("tree_")?.attr("nodes")?;
    let nodes = nodes_view.records()?;
    let (left, right) = (nodes.integers("left_child")?, nodes.integers("right_child")?);
    let feature = nodes.integers("feature")?;
    let (impurity, weight) = (nodes.numbers("impurity")?, nodes.numbers("weighted_n_node_samples")?);
    let share = |node: i64| {
        let node = usize::try_from(node).ok().filter(|n| *n < weight.len());
        node.map(|n| weight[n] * impurity[n]).ok_or_else(|| nodes_view.fault("child out of range"))
    };
    let mut sums = vec![0.0; width];
    for at in 0..left.len() {
        if left[at] < 0 {
            continue;
        }
        let column = usize::try_from(feature[at]).ok().and_then(|f| sums.get_mut(f));
        let column = column.ok_or_else(|| nodes_view.fault(format!("feature {} of {width}", feature[at])))?;
        *column += weight[at] * impurity[at] - share(left[at])? - share(right[at])?;
    }
    if let Some(root) = weight.first().filter(|w| **w > 0.0) {
        sums.iter_mut().for_each(|s| *s /= root);
    }
    Ok((sums, left.len()))
}

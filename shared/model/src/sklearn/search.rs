//! The stored rows of estimators by neighbours, and the trees that divide them.

use crate::Fault;
use crate::artefact::View;
use crate::learner::{Metric, Regions, Search, Tree, TreeNode};

/// The stored rows of an estimator by neighbours, and its metric.
pub(super) fn read(view: &View<'_>, width: usize) -> Result<Search, Fault> {
    let (rows, [count, columns]) = view.attr("_fit_X")?.matrix()?;
    if columns != width || count == 0 {
        return Err(view.fault(format!("was fitted on {columns} columns, expected {width}")));
    }
    let name = view.attr("effective_metric_")?;
    let parameters = view.opt("effective_metric_params_");
    let parameter = |name: &str| parameters.as_ref().and_then(|p| p.opt(name));
    if parameter("w").is_some() {
        return Err(name.fault("weights of the metric are not supported"));
    }
    let metric = match name.word()? {
        "euclidean" | "l2" | "nan_euclidean" => Metric::Euclidean,
        "manhattan" | "cityblock" | "l1" => Metric::Manhattan,
        "chebyshev" | "infinity" => Metric::Chebyshev,
        "cosine" => Metric::Cosine,
        "canberra" => Metric::Canberra,
        "braycurtis" => Metric::BrayCurtis,
        "hamming" => Metric::Hamming,
        "haversine" if width == 2 => Metric::Haversine,
        "seuclidean" => {
            let variances = parameter("V").ok_or_else(|| name.fault("has no variances"))?;
            Metric::Standardised(variances.vector(width)?)
        }
        "mahalanobis" => {
            let inverse = parameter("VI").ok_or_else(|| name.fault("has no inverse of the covariance (VI)"))?;
            Metric::Mahalanobis(super::matrix(&inverse, width, width)?)
        }
        "minkowski" | "p" => match parameter("p").or_else(|| view.opt("p")).map(|p| p.number()).transpose()? {
            Some(1.0) => Metric::Manhattan,
            None | Some(2.0) => Metric::Euclidean,
            Some(p) if p > 0.0 => Metric::Minkowski(p),
            Some(p) => return Err(name.fault(format!("p is {p}"))),
        },
        other => return Err(name.fault(format!("metric {other:?} is not supported"))),
    };
    let tree = tree(view, count, width)?;
    Ok(Search { width, rows, metric, tree })
}

/// The k-d tree or ball tree of an estimator that was fitted on `rows` rows; none when it looks at each of them.
pub(super) fn tree(view: &View<'_>, rows: usize, width: usize) -> Result<Option<Tree>, Fault> {
    let Some(tree) = view.opt("_tree") else { return Ok(None) };
    let state = tree.state_items()?;
    // the rows come first
    let [_, order, nodes, bounds, ..] = state.as_slice() else { return Err(tree.fault("has no regions")) };
    let index = |place: &View<'_>, value: i64| {
        u32::try_from(value).map_err(|_| place.fault(format!("holds {value}, which is no index of a row")))
    };
    let indices = order.array()?.integers().map_err(|e| order.fault(e))?;
    let indices = indices.into_iter().map(|i| index(order, i)).collect::<Result<Vec<_>, _>>()?;
    let records = nodes.records()?;
    let (starts, ends) = (records.integers("idx_start")?, records.integers("idx_end")?);
    let (leaves, radii) = (records.integers("is_leaf")?, records.numbers("radius")?);
    let fields = starts.iter().zip(&ends).zip(&leaves).zip(radii);
    let regions = fields.map(|(((start, end), is_leaf), radius)| {
        let (start, end) = (index(nodes, *start)?, index(nodes, *end)?);
        Ok(TreeNode { start, end, is_leaf: *is_leaf != 0, radius })
    });
    let regions = regions.collect::<Result<Vec<_>, Fault>>()?;
    let mut values = bounds.numbers()?;
    // a box has two corners, a ball one centre
    let bounds = if values.len() == regions.len() * width {
        Regions::Balls { centres: values }
    } else {
        let largest = values.split_off(values.len() / 2);
        Regions::Boxes { least: values, largest }
    };
    Tree::new(indices, regions, bounds, rows, width).map(Some).map_err(|e| tree.fault(e))
}

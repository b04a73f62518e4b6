//! Clusters, whose labels are their indices.

use std::sync::Arc;

use super::{Estimator, class_indices};
use crate::Fault;
use crate::artefact::View;
use crate::head::Head;
use crate::learner::{Bisected, Centres, Cluster, Learner, Metric, Search, Then};
use crate::output_transform::{Link, OutputTransform};

/// The most clusters of a tree.
const MAX_CLUSTERS: usize = 1 << 20;

fn finish(learner: impl Learner + 'static, labels: usize) -> Estimator {
    let transform = OutputTransform::Classes { labels: class_indices(labels), link: Link::Index };
    Estimator { head: Head::Learner(Arc::new(learner)), transform, takes_missing: false }
}

fn centres(view: &View<'_>, name: &str, width: usize) -> Result<Centres, Fault> {
    let (rows, [count, columns]) = view.attr(name)?.matrix()?;
    if columns != width || count == 0 {
        return Err(view.fault(format!("has {count} centres of {columns} columns, expected {width}")));
    }
    let search = Search::scan(width, rows, Metric::Euclidean);
    Ok(Centres { search, densities: None, by_density: false, classes: Vec::new() })
}

/// KMeans, MiniBatchKMeans, MeanShift, AffinityPropagation: the index of the nearest centre.
pub(super) fn nearest(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let centres = centres(view, "cluster_centers_", width)?;
    let count = centres.search.len();
    Ok(finish(centres, count))
}

/// Birch: the cluster of the nearest subcluster.
pub(super) fn birch(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let mut centres = centres(view, "subcluster_centers_", width)?;
    let labels = view.attr("subcluster_labels_")?;
    let count = centres.search.len();
    let of = labels.numbers()?;
    centres.classes = of.iter().map(|label| super::step::column(&labels, *label, count)).collect::<Result<_, _>>()?;
    if centres.classes.len() != count {
        return Err(labels.fault(format!("has {} labels of {count} subclusters", centres.classes.len())));
    }
    let highest = centres.classes.iter().copied().max().unwrap_or(0);
    Ok(finish(centres, highest + 1))
}

/// What a node of a tree of clusters takes beside its centre, with its place in the file.
const NODE_BYTES: usize = 512;

/// BisectingKMeans: from the cluster of all rows down to one that is not divided.
pub(super) fn bisecting(view: &View<'_>, width: usize) -> Result<Estimator, Fault> {
    let labels = view.attr("n_clusters")?.count(MAX_CLUSTERS)?;
    // the centres of the tree are those of the rows without their mean
    let mean = view.opt("_X_mean").map(|mean| mean.vector(width)).transpose()?.unwrap_or_else(|| vec![0.0; width]);
    let mut waiting = vec![view.attr("_bisecting_tree")?];
    let mut clusters: Vec<Cluster> = Vec::new();
    let mut at = 0;
    while let Some(node) = waiting.get(at).cloned() {
        node.allocate((width * size_of::<f64>()).saturating_add(NODE_BYTES))?;
        let centre = node.attr("center")?.vector(width)?;
        let centre = centre.iter().zip(&mean).map(|(c, m)| c + m).collect();
        let then = match (node.opt("left"), node.opt("right")) {
            (Some(left), Some(right)) if waiting.len() < 2 * labels => {
                let first = waiting.len();
                waiting.extend([left, right]);
                Then::Divided([first, first + 1])
            }
            (None, None) => {
                let label = node.attr("label")?;
                Then::Label(super::step::column(&label, label.number()?, labels)?)
            }
            _ => return Err(node.fault("is no tree of the clusters")),
        };
        clusters.push(Cluster { centre, then });
        at += 1;
    }
    Ok(finish(Bisected { width, clusters }, labels))
}

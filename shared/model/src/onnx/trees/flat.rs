//! TreeEnsembleRegressor and TreeEnsembleClassifier: nodes by (tree, node) id, with leaf weights in separate arrays.

use std::collections::{BTreeMap, HashMap};

use super::{Ensemble, MAX_TARGETS, Mode, Split, Tree, leaf_values, same_length};
use crate::forest::Precision;
use crate::onnx::proto::NodeProto;

/// Reads the trees of the operator. A leaf without a weight for a target gets `absent`.
pub(super) fn read(node: &NodeProto, classifier: bool, precision: Precision, absent: f64) -> Result<Ensemble, String> {
    let (trees, ids) = (node.ints("nodes_treeids"), node.ints("nodes_nodeids"));
    let (features, modes) = (node.ints("nodes_featureids"), node.strings("nodes_modes"));
    let (yes, no) = (node.ints("nodes_truenodeids"), node.ints("nodes_falsenodeids"));
    let thresholds = node.floats_or_tensor("nodes_values")?;
    let tracks = node.ints("nodes_missing_value_tracks_true");
    for (name, got) in [
        ("nodes_nodeids", ids.len()),
        ("nodes_featureids", features.len()),
        ("nodes_modes", modes.len()),
        ("nodes_truenodeids", yes.len()),
        ("nodes_falsenodeids", no.len()),
        ("nodes_values", thresholds.len()),
    ] {
        same_length(name, got, trees.len())?;
    }
    let places = Places::of(&trees, &ids)?;
    let mut out: BTreeMap<i64, Tree> = BTreeMap::new();
    for i in 0..trees.len() {
        let tree = out.entry(trees[i]).or_default();
        if modes[i] == "LEAF" {
            tree.leaf();
            continue;
        }
        let split = Split {
            feature: features[i],
            threshold: thresholds[i],
            missing_true: tracks.get(i).is_some_and(|t| *t != 0),
            yes: places.find(trees[i], yes[i])?,
            no: places.find(trees[i], no[i])?,
        };
        tree.split(Mode::named(&modes[i])?, split, precision);
    }
    weights(node, classifier, out, &places, absent)
}

/// The positions of nodes in their trees; the first node of a tree is its root.
struct Places(HashMap<(i64, i64), i64>);

impl Places {
    fn of(trees: &[i64], ids: &[i64]) -> Result<Self, String> {
        let mut at = HashMap::new();
        let mut sizes: HashMap<i64, i64> = HashMap::new();
        for key in trees.iter().copied().zip(ids.iter().copied()) {
            let size = sizes.entry(key.0).or_default();
            if at.insert(key, *size).is_some() {
                return Err(format!("node {} of tree {} is defined twice", key.1, key.0));
            }
            *size += 1;
        }
        Ok(Self(at))
    }

    fn find(&self, tree: i64, id: i64) -> Result<i64, String> {
        self.0.get(&(tree, id)).copied().ok_or_else(|| format!("tree {tree} has no node {id}"))
    }
}

/// Adds the leaf weights to the trees.
fn weights(
    node: &NodeProto,
    classifier: bool,
    mut trees: BTreeMap<i64, Tree>,
    places: &Places,
    absent: f64,
) -> Result<Ensemble, String> {
    let prefix = if classifier { "class" } else { "target" };
    let of = |name: &str| node.ints(&format!("{prefix}_{name}"));
    let (tree_ids, node_ids, ids) = (of("treeids"), of("nodeids"), of("ids"));
    let weights = node.floats_or_tensor(&format!("{prefix}_weights"))?;
    for (name, got) in [("nodeids", node_ids.len()), ("ids", ids.len()), ("weights", weights.len())] {
        same_length(&format!("{prefix}_{name}"), got, tree_ids.len())?;
    }
    let classes = node.ints("classlabels_int64s").len().max(node.strings("classlabels_strings").len());
    let mut targets = if classifier { classes } else { usize::try_from(node.int("n_targets", 1)).unwrap_or(0) };
    // two classes with weights for the first one alone: one score, which is that of the second class
    if classifier && classes == 2 && !ids.is_empty() {
        if ids.iter().all(|id| *id == 1) {
            return Err("has weights for the second of two classes alone, which runtimes read differently".to_owned());
        }
        if ids.iter().all(|id| *id == 0) {
            targets = 1;
        }
    }
    if targets == 0 || targets > MAX_TARGETS {
        return Err(format!("{targets} targets"));
    }
    let mut total = 0;
    for tree in trees.values_mut() {
        tree.values = vec![absent; leaf_values(&mut total, tree.left.len(), targets)?];
    }
    for i in 0..tree_ids.len() {
        let target = usize::try_from(ids[i]).ok().filter(|t| *t < targets);
        let target = target.ok_or_else(|| format!("target {} of {targets}", ids[i]))?;
        let at = places.find(tree_ids[i], node_ids[i])? as usize;
        let tree = trees.get_mut(&tree_ids[i]).ok_or("weight of no tree")?;
        let value = &mut tree.values[at * targets + target];
        *value = if *value == absent { weights[i] } else { *value + weights[i] };
    }
    Ok(Ensemble { trees, targets, positive: weights.iter().all(|w| *w >= 0.0) })
}

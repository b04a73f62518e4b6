//! TreeEnsemble (ai.onnx.ml 5): separate arrays for splits and leaves, and a list of roots.

use super::{Ensemble, MAX_TARGETS, Mode, Split, Tree, leaf_values, same_length};
use crate::forest::Precision;
use crate::onnx::attributes::Constant;
use crate::onnx::proto::NodeProto;

/// The arrays of the operator.
struct Arrays {
    modes: Vec<Mode>,
    splits: Vec<f64>,
    features: Vec<i64>,
    yes: Vec<i64>,
    no: Vec<i64>,
    yes_leaf: Vec<i64>,
    no_leaf: Vec<i64>,
    tracks: Vec<i64>,
    leaf_targets: Vec<i64>,
    leaf_weights: Vec<f64>,
    targets: usize,
}

/// Reads the trees of the operator. A leaf has one weight; its other targets get `absent`.
pub(super) fn read(node: &NodeProto, precision: Precision, absent: f64) -> Result<Ensemble, String> {
    let arrays = Arrays::read(node)?;
    let mut trees = std::collections::BTreeMap::new();
    let (mut total, mut reached) = (0, vec![false; arrays.modes.len()]);
    for (id, root) in node.ints("tree_roots").iter().enumerate() {
        let tree =
            arrays.tree(*root, precision, absent, (&mut total, &mut reached)).map_err(|e| format!("tree {id}: {e}"))?;
        trees.insert(id as i64, tree);
    }
    Ok(Ensemble { trees, targets: arrays.targets, positive: false })
}

impl Arrays {
    fn read(node: &NodeProto) -> Result<Self, String> {
        let modes = node.attribute("nodes_modes").and_then(|a| a.t.as_ref()).ok_or("has no nodes_modes")?;
        let targets = usize::try_from(node.int("n_targets", 1)).ok().filter(|t| (1..=MAX_TARGETS).contains(t));
        let arrays = Self {
            modes: named(&Constant::read(modes)?.values, node)?,
            splits: node.floats("nodes_splits")?,
            features: node.ints("nodes_featureids"),
            yes: node.ints("nodes_truenodeids"),
            no: node.ints("nodes_falsenodeids"),
            yes_leaf: node.ints("nodes_trueleafs"),
            no_leaf: node.ints("nodes_falseleafs"),
            tracks: node.ints("nodes_missing_value_tracks_true"),
            leaf_targets: node.ints("leaf_targetids"),
            leaf_weights: node.floats("leaf_weights")?,
            targets: targets.ok_or("n_targets is out of range")?,
        };
        for (name, got) in [
            ("nodes_splits", arrays.splits.len()),
            ("nodes_featureids", arrays.features.len()),
            ("nodes_truenodeids", arrays.yes.len()),
            ("nodes_falsenodeids", arrays.no.len()),
            ("nodes_trueleafs", arrays.yes_leaf.len()),
            ("nodes_falseleafs", arrays.no_leaf.len()),
        ] {
            same_length(name, got, arrays.modes.len())?;
        }
        same_length("leaf_weights", arrays.leaf_weights.len(), arrays.leaf_targets.len())?;
        Ok(arrays)
    }

    /// The tree below `root`, with its nodes in the order in which they are reached.
    /// `reached` says which nodes are in a tree already.
    fn tree(
        &self,
        root: i64,
        precision: Precision,
        absent: f64,
        (total, reached): (&mut usize, &mut [bool]),
    ) -> Result<Tree, String> {
        let mut tree = Tree::default();
        // (index, whether it is a leaf); children are appended
        let mut order = vec![(root, false)];
        let mut next = 0;
        while let Some(&(index, is_leaf)) = order.get(next) {
            next += 1;
            let i = usize::try_from(index).map_err(|_| "has a negative index".to_owned())?;
            let start = tree.values.len();
            tree.values.resize(start + leaf_values(total, 1, self.targets)?, absent);
            if is_leaf {
                let leaf = self.leaf_targets.get(i).zip(self.leaf_weights.get(i));
                let (target, weight) = leaf.ok_or_else(|| format!("has no leaf {i}"))?;
                let target = usize::try_from(*target).ok().filter(|t| *t < self.targets);
                tree.values[start + target.ok_or("target out of range")?] = *weight;
                tree.leaf();
                continue;
            }
            let mode = self.modes.get(i).ok_or_else(|| format!("has no node {i}"))?;
            if std::mem::replace(&mut reached[i], true) {
                return Err("reaches a node twice".to_owned());
            }
            let children = order.len() as i64;
            order.extend([(self.yes[i], self.yes_leaf[i] != 0), (self.no[i], self.no_leaf[i] != 0)]);
            let split = Split {
                feature: self.features[i],
                threshold: self.splits[i],
                missing_true: self.tracks.get(i).is_some_and(|t| *t != 0),
                yes: children,
                no: children + 1,
            };
            tree.split(mode.clone(), split, precision);
        }
        Ok(tree)
    }
}

/// The comparisons by number. `membership_values` holds one set after another, separated by NaN.
fn named(numbers: &[f64], node: &NodeProto) -> Result<Vec<Mode>, String> {
    let values = match node.attribute("membership_values").and_then(|a| a.t.as_ref()) {
        Some(t) => Constant::read(t)?.values,
        None => Vec::new(),
    };
    let mut sets = values.split(|v| v.is_nan());
    let mut next_set = || sets.next().filter(|s| !s.is_empty()).ok_or("membership_values has too few sets");
    let mode = |number: &f64| -> Result<Mode, String> {
        Ok(match *number as i64 {
            0 => Mode::Leq,
            1 => Mode::Lt,
            2 => Mode::Gte,
            3 => Mode::Gt,
            4 => Mode::Eq,
            5 => Mode::Neq,
            6 => Mode::Member(next_set()?.to_vec()),
            other => return Err(format!("mode {other} is not supported")),
        })
    };
    numbers.iter().map(mode).collect()
}

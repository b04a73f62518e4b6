//! The tree operators of both generations as forests.

use std::collections::{BTreeMap, HashMap};

use burn::tensor::DType;

use super::attributes::Constant;
use super::compile::Compiler;
use super::learners::class_scores;
use super::nodes::row;
use super::program::{Arithmetic, Op};
use super::proto::NodeProto;
use crate::forest::{Combine, Forest, ForestBuilder, Precision, RawTree};

/// Targets accepted.
const MAX_TARGETS: usize = 10_000;

/// One tree while it is put together; see [`RawTree`].
#[derive(Debug, Default)]
struct Tree {
    left: Vec<i64>,
    right: Vec<i64>,
    feature: Vec<i64>,
    threshold: Vec<f64>,
    missing_left: Vec<bool>,
    values: Vec<f64>,
}

/// How a split compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Leq,
    Lt,
    Gte,
    Gt,
}

impl Mode {
    fn named(name: &str) -> Result<Self, String> {
        Ok(match name {
            "BRANCH_LEQ" => Self::Leq,
            "BRANCH_LT" => Self::Lt,
            "BRANCH_GTE" => Self::Gte,
            "BRANCH_GT" => Self::Gt,
            other => return Err(format!("mode {other:?} is not supported")),
        })
    }
}

impl Tree {
    /// Adds a split. Every mode becomes `x <= t`: a strict comparison moves the threshold down by one float,
    /// a greater-than swaps the branches. NaN compares false unless it is said to track the true branch.
    fn split(&mut self, mode: Mode, split: (i64, f64, bool), yes: i64, no: i64, precision: Precision) {
        let (feature, threshold, missing_true) = split;
        let below = match precision {
            Precision::Single => f64::from((threshold as f32).next_down()),
            Precision::Double => threshold.next_down(),
        };
        let (threshold, swapped) = match mode {
            Mode::Leq => (threshold, false),
            Mode::Lt => (below, false),
            Mode::Gte => (below, true),
            Mode::Gt => (threshold, true),
        };
        let (left, right) = if swapped { (no, yes) } else { (yes, no) };
        self.left.push(left);
        self.right.push(right);
        self.feature.push(feature);
        self.threshold.push(threshold);
        self.missing_left.push(missing_true != swapped);
    }

    fn leaf(&mut self) {
        self.left.push(-1);
        self.right.push(-1);
        self.feature.push(0);
        self.threshold.push(0.0);
        self.missing_left.push(false);
    }
}

/// Compiles a tree operator.
pub(super) fn compile(c: &mut Compiler, node: &NodeProto) -> Result<(), String> {
    let (slot, width) = c.slot(node, 0)?;
    let precision = if c.dtype == DType::F64 { Precision::Double } else { Precision::Single };
    let classifier = node.op_type == "TreeEnsembleClassifier";
    let (trees, targets) =
        if node.op_type == "TreeEnsemble" { merged(node, precision)? } else { flat(node, classifier, precision)? };
    // exporters write the attribute for learners without a rule as well, all zero
    c.takes_missing |= node.ints("nodes_missing_value_tracks_true").iter().any(|t| *t != 0);
    let mut builder = ForestBuilder::new(width, targets, precision);
    for (id, tree) in &trees {
        let raw = RawTree {
            left: &tree.left,
            right: &tree.right,
            feature: &tree.feature,
            threshold: &tree.threshold,
            missing_left: &tree.missing_left,
            values: &tree.values,
        };
        builder.push(&raw, 1.0).map_err(|e| format!("tree {id}: {e}"))?;
    }
    let combine = match aggregate(node).as_str() {
        "SUM" => Combine::Mean(1.0),
        "AVERAGE" => Combine::Mean(trees.len() as f64),
        other => return Err(format!("aggregate_function {other:?} is not supported")),
    };
    let forest: Forest = builder.finish(targets, combine)?;
    let mut out = c.inner(node, Op::Forest(Compiler::share(forest)), slot);
    let base = node.floats_or_tensor("base_values")?;
    if !base.is_empty() {
        if base.len() != targets && base.len() != 1 {
            return Err(format!("{} base values for {targets} targets", base.len()));
        }
        out = c.inner(node, Op::Constant { how: Arithmetic::Add, row: row(c, &base), reversed: false }, out);
    }
    if classifier {
        return class_scores(c, node, out, targets);
    }
    let post = node.string("post_transform", "NONE");
    let plain = post == "NONE" || (post.is_empty() && node.int("post_transform", 0) == 0);
    if !plain {
        return Err(format!("post_transform {post:?} is not supported"));
    }
    c.alias(node, 0, super::compile::Value::Slot { slot: out, width: targets });
    Ok(())
}

fn aggregate(node: &NodeProto) -> String {
    // the newer operator numbers them
    if node.op_type == "TreeEnsemble" {
        return ["AVERAGE", "SUM", "MIN", "MAX"]
            .get(usize::try_from(node.int("aggregate_function", 1)).unwrap_or(9))
            .map_or_else(|| "unknown".to_owned(), |s| (*s).to_owned());
    }
    node.string("aggregate_function", "SUM")
}

fn same_length(name: &str, got: usize, want: usize) -> Result<(), String> {
    if got == want { Ok(()) } else { Err(format!("{name} has {got} entries, expected {want}")) }
}

/// TreeEnsembleRegressor and -Classifier: nodes by (tree, node) id, leaf weights apart from them.
fn flat(node: &NodeProto, classifier: bool, precision: Precision) -> Result<(BTreeMap<i64, Tree>, usize), String> {
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
    // positions of nodes in their own tree; the first node of a tree is its root
    let mut at: HashMap<(i64, i64), i64> = HashMap::new();
    let mut sizes: BTreeMap<i64, i64> = BTreeMap::new();
    for key in trees.iter().copied().zip(ids.iter().copied()) {
        let size = sizes.entry(key.0).or_default();
        if at.insert(key, *size).is_some() {
            return Err(format!("node {} of tree {} is there twice", key.1, key.0));
        }
        *size += 1;
    }
    let find = |tree: i64, id: i64| at.get(&(tree, id)).copied().ok_or_else(|| format!("tree {tree} has no node {id}"));
    let mut out: BTreeMap<i64, Tree> = BTreeMap::new();
    for i in 0..trees.len() {
        let tree = out.entry(trees[i]).or_default();
        if modes[i] == "LEAF" {
            tree.leaf();
            continue;
        }
        let split = (features[i], thresholds[i], tracks.get(i).is_some_and(|t| *t != 0));
        tree.split(Mode::named(&modes[i])?, split, find(trees[i], yes[i])?, find(trees[i], no[i])?, precision);
    }
    let targets = weights(node, classifier, &mut out, find)?;
    Ok((out, targets))
}

/// Puts leaf weights into the trees; gives the number of targets.
fn weights(
    node: &NodeProto,
    classifier: bool,
    trees: &mut BTreeMap<i64, Tree>,
    find: impl Fn(i64, i64) -> Result<i64, String>,
) -> Result<usize, String> {
    let prefix = if classifier { "class" } else { "target" };
    let of = |name: &str| node.ints(&format!("{prefix}_{name}"));
    let (tree_ids, node_ids, mut ids) = (of("treeids"), of("nodeids"), of("ids"));
    let weights = node.floats_or_tensor(&format!("{prefix}_weights"))?;
    for (name, got) in [("nodeids", node_ids.len()), ("ids", ids.len()), ("weights", weights.len())] {
        same_length(&format!("{prefix}_{name}"), got, tree_ids.len())?;
    }
    let classes = node.ints("classlabels_int64s").len().max(node.strings("classlabels_strings").len());
    let mut targets = if classifier { classes } else { usize::try_from(node.int("n_targets", 1)).unwrap_or(0) };
    // two classes with weights for one of them: one score, the second class's
    if classifier && classes == 2 && ids.windows(2).all(|w| w[0] == w[1]) {
        if node.string("post_transform", "NONE") == "NONE" && weights.iter().any(|w| *w < 0.0) {
            return Err("negative weights for one of two classes are not supported without LOGISTIC".to_owned());
        }
        targets = 1;
        ids.fill(0);
    }
    if targets == 0 || targets > MAX_TARGETS {
        return Err(format!("{targets} targets"));
    }
    for tree in trees.values_mut() {
        let values = tree.left.len().checked_mul(targets).filter(|n| *n < 1 << 28).ok_or("too many leaf values")?;
        tree.values = vec![0.0; values];
    }
    for i in 0..tree_ids.len() {
        let target = usize::try_from(ids[i]).ok().filter(|t| *t < targets);
        let target = target.ok_or_else(|| format!("target {} of {targets}", ids[i]))?;
        let at = find(tree_ids[i], node_ids[i])? as usize;
        let tree = trees.get_mut(&tree_ids[i]).ok_or("weight of no tree")?;
        tree.values[at * targets + target] += weights[i];
    }
    Ok(targets)
}

/// TreeEnsemble (ai.onnx.ml 5): splits and leaves in arrays of their own, roots named.
fn merged(node: &NodeProto, precision: Precision) -> Result<(BTreeMap<i64, Tree>, usize), String> {
    let modes = node.attribute("nodes_modes").and_then(|a| a.t.as_ref()).ok_or("has no nodes_modes")?;
    let modes = Constant::read(modes)?.values;
    let splits = node.floats("nodes_splits")?;
    let (features, roots) = (node.ints("nodes_featureids"), node.ints("tree_roots"));
    let (yes, no) = (node.ints("nodes_truenodeids"), node.ints("nodes_falsenodeids"));
    let (yes_leaf, no_leaf) = (node.ints("nodes_trueleafs"), node.ints("nodes_falseleafs"));
    let tracks = node.ints("nodes_missing_value_tracks_true");
    let lengths = [splits.len(), features.len(), yes.len(), no.len(), yes_leaf.len(), no_leaf.len()];
    if lengths.iter().any(|l| *l != modes.len()) {
        return Err(format!("node arrays differ in length: {lengths:?} and {}", modes.len()));
    }
    let (leaf_targets, leaf_weights) = (node.ints("leaf_targetids"), node.floats("leaf_weights")?);
    same_length("leaf_weights", leaf_weights.len(), leaf_targets.len())?;
    let targets = usize::try_from(node.int("n_targets", 1)).ok().filter(|t| (1..=MAX_TARGETS).contains(t));
    let targets = targets.ok_or("n_targets is out of range")?;

    let mut out = BTreeMap::new();
    for (id, root) in roots.iter().enumerate() {
        let mut tree = Tree::default();
        // (index, is a leaf) of each node in the order it gets its place; children are appended
        let mut order = vec![(*root, false)];
        let mut next = 0;
        while let Some(&(index, is_leaf)) = order.get(next) {
            next += 1;
            if order.len() > 2 * modes.len() + 1 {
                return Err(format!("tree {id} reaches a node twice"));
            }
            let i = usize::try_from(index).map_err(|_| format!("tree {id} has a negative index"))?;
            let start = tree.values.len();
            tree.values.resize(start + targets, 0.0);
            if is_leaf {
                let (target, weight) =
                    leaf_targets.get(i).zip(leaf_weights.get(i)).ok_or_else(|| format!("tree {id}: no leaf {i}"))?;
                let target = usize::try_from(*target).ok().filter(|t| *t < targets).ok_or("target out of range")?;
                tree.values[start + target] = *weight;
                tree.leaf();
                continue;
            }
            let mode = *modes.get(i).ok_or_else(|| format!("tree {id}: no node {i}"))?;
            let mode = [Mode::Leq, Mode::Lt, Mode::Gte, Mode::Gt].get(mode as usize).copied();
            let mode = mode.ok_or_else(|| format!("tree {id}: mode {} is not supported", modes[i]))?;
            let children = order.len() as i64;
            order.extend([(yes[i], yes_leaf[i] != 0), (no[i], no_leaf[i] != 0)]);
            let split = (features[i], splits[i], tracks.get(i).is_some_and(|t| *t != 0));
            tree.split(mode, split, children, children + 1, precision);
        }
        out.insert(id as i64, tree);
    }
    Ok((out, targets))
}

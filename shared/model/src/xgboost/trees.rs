//! XGBoost's trees: `gbtree` and `dart`.

use std::collections::HashMap;

use forebay_artefact::Allowance;

use super::Margins;
use crate::booster::Meaning;
use crate::document::Value;
use crate::forest::{Aggregate, Category, Forest, ForestBuilder, Precision, RawTree};

/// The most trees of a model.
const MAX_TREES: usize = 1 << 20;

/// Bytes that a tree takes while it is read: for each node, for each value of a leaf or member of a set, and for each set.
const NODE_BYTES: usize = 88;
const VALUE_BYTES: usize = 16;
const SET_BYTES: usize = 128;

/// One tree as arrays.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub left: Vec<i64>,
    pub right: Vec<i64>,
    pub feature: Vec<i64>,
    /// The f32 that a value must be below to go left.
    pub below: Vec<f32>,
    pub default_left: Vec<bool>,
    /// The categories of the splits by category; members go right.
    pub sets: HashMap<usize, Vec<f64>>,
    /// Values of the leaves, `stride` per node.
    pub values: Vec<f32>,
}

/// Trees that can be read one by one.
pub(super) struct Source<'s> {
    /// The group of every tree.
    pub info: &'s [i64],
    /// The number of trees that are used.
    pub used: usize,
    /// The weights of `dart`.
    pub weights: Option<&'s [f32]>,
    /// The number of values in a leaf.
    pub stride: usize,
    /// Reads a tree.
    pub tree: &'s dyn Fn(usize) -> Result<Tree, String>,
}

/// Reads a `gbtree` or `dart` booster. Uses the trees of the first `rounds` rounds, or all.
pub(super) fn read(
    booster: &Value<'_>,
    width: usize,
    start: &[f32],
    meaning: Meaning,
    rounds: Option<usize>,
    allowance: &Allowance,
) -> Result<Margins, String> {
    let weights: Option<Vec<f32>> = booster.get("weight_drop").map(Value::numbers).transpose()?;
    let model = match booster.get("gbtree") {
        Some(inner) => inner.need("model")?,
        None => booster.need("model")?,
    };
    let listed = model.need("trees")?.items()?;
    if listed.len() > MAX_TREES {
        return Err(format!("more than {MAX_TREES} trees"));
    }
    let info: Vec<i64> = model.numbers_at("tree_info")?;
    if info.len() != listed.len() {
        return Err(format!("tree_info does not match {} trees", listed.len()));
    }
    let mut ordered = vec![None; listed.len()];
    for (i, tree) in listed.iter().enumerate() {
        let id = tree.get("id").map_or(Ok(i), |id| id.count(usize::MAX >> 1))?;
        *ordered.get_mut(id).ok_or_else(|| format!("tree {i} has the ID {id}"))? = Some(tree);
    }
    let stride = stride(listed)?;
    let tree = |i: usize| tree_of(ordered[i].ok_or("is not there")?, stride, allowance);
    let used = trees_of_rounds(model, &info, rounds)?;
    compile(
        &Source { info: &info, used, weights: weights.as_deref(), stride, tree: &tree },
        width,
        start,
        meaning,
        allowance,
    )
}

/// Compiles trees; `start` has the margin of the base score of every group.
pub(super) fn compile(
    source: &Source<'_>,
    width: usize,
    start: &[f32],
    meaning: Meaning,
    allowance: &Allowance,
) -> Result<Margins, String> {
    let Source { info, used, weights, stride, tree } = *source;
    if weights.is_some_and(|weights| weights.len() != info.len()) {
        return Err(format!("weight_drop does not match {} trees", info.len()));
    }
    if stride != 1 && stride != start.len() {
        return Err(format!("leaves have {stride} values for {} outputs", start.len()));
    }
    // leaves with a value per output are in no group
    let order = if stride == 1 { order(&info[..used], start.len(), allowance)? } else { (0..used).map(Some).collect() };
    if order.is_empty() {
        return Ok(Margins::Constant(start.to_vec()));
    }
    let builder = ForestBuilder::new(width, stride, Precision::Single).with_category(Category::Floor);
    let mut builder = builder.within(allowance);
    for (turn, at) in order.iter().enumerate() {
        let Some(i) = *at else {
            push(&mut builder, &Tree::nothing(stride))?;
            continue;
        };
        let (read, taken) = allowance.measured(|| tree(i));
        let mut read = read.map_err(|e| format!("tree {i}: {e}"))?;
        if let Some(weight) = weights.and_then(|weights| weights.get(i)) {
            let base = start[turn % start.len()];
            read.values.iter_mut().for_each(|v| *v = dart_leaf(*v, *weight, base, meaning));
        }
        push(&mut builder, &read).map_err(|e| format!("tree {i}: {e}"))?;
        allowance.give_back(taken);
    }
    let sums = Aggregate::Sum(start.iter().map(|s| f64::from(*s)).collect());
    let forest: Forest<f32> = builder.finish(start.len(), sums)?;
    Ok(Margins::Trees(Box::new(forest)))
}

/// The trees in the order that the kernels take them: one of each group in turn, which keeps the order within every
/// group. A group with fewer trees has none where the others still have some.
fn order(info: &[i64], groups: usize, allowance: &Allowance) -> Result<Vec<Option<usize>>, String> {
    allowance.spend(groups * size_of::<Vec<usize>>() + 4 * size_of_val(info))?;
    let mut queues: Vec<Vec<usize>> = vec![Vec::new(); groups];
    for (i, group) in info.iter().enumerate() {
        let queue = usize::try_from(*group).ok().and_then(|group| queues.get_mut(group));
        queue.ok_or_else(|| format!("tree {i} is of group {group} of {groups}"))?.push(i);
    }
    let rounds = queues.iter().map(Vec::len).max().unwrap_or(0);
    if rounds.saturating_mul(groups) > MAX_TREES {
        return Err(format!("more than {MAX_TREES} trees"));
    }
    allowance.spend(rounds * groups * size_of::<Option<usize>>())?;
    Ok((0..rounds).flat_map(|round| queues.iter().map(move |queue| queue.get(round).copied())).collect())
}

/// The contribution of a leaf of `dart`. scikit-learn's classes predict in place, where XGBoost adds the base score to
/// a tree and subtracts it again.
fn dart_leaf(leaf: f32, weight: f32, base: f32, meaning: Meaning) -> f32 {
    match meaning {
        Meaning::Booster => leaf * weight,
        Meaning::Regressor | Meaning::Classifier => ((base + leaf) - base) * weight,
    }
}

/// The number of trees in the first `rounds` rounds.
fn trees_of_rounds(model: &Value<'_>, info: &[i64], rounds: Option<usize>) -> Result<usize, String> {
    let Some(rounds) = rounds else { return Ok(info.len()) };
    if model.get("iteration_indptr").is_some() {
        let ends: Vec<i64> = model.numbers_at("iteration_indptr")?;
        return Ok(ends
            .get(rounds)
            .and_then(|end| usize::try_from(*end).ok())
            .map_or(info.len(), |e| e.min(info.len())));
    }
    let parallel = model.path(&["gbtree_model_param", "num_parallel_tree"]).map_or(Ok(1), |n| n.count(MAX_TREES))?;
    Ok(trees_in(rounds, parallel, info))
}

/// The number of trees in the first `rounds` rounds, in files that do not list where rounds end.
pub(super) fn trees_in(rounds: usize, parallel: usize, info: &[i64]) -> usize {
    let groups = usize::try_from(info.iter().max().map_or(1, |group| group.saturating_add(1))).unwrap_or(1);
    rounds.saturating_mul(parallel.max(1)).saturating_mul(groups.max(1)).min(info.len())
}

/// The number of values in a leaf, the same in all trees.
fn stride(trees: &[Value<'_>]) -> Result<usize, String> {
    let Some(param) = trees.first().and_then(|t| t.path(&["tree_param", "size_leaf_vector"])) else { return Ok(1) };
    Ok(param.count(super::MAX_OUTPUTS)?.max(1))
}

impl Tree {
    /// A tree that adds nothing.
    fn nothing(stride: usize) -> Self {
        Self {
            left: vec![-1],
            right: vec![-1],
            feature: vec![0],
            below: vec![0.0],
            default_left: vec![false],
            sets: HashMap::new(),
            values: vec![0.0; stride],
        }
    }
}

fn tree_of(tree: &Value<'_>, stride: usize, allowance: &Allowance) -> Result<Tree, String> {
    let nodes = tree.need("left_children")?.len();
    allowance.spend(nodes.saturating_mul(NODE_BYTES.saturating_add(stride.saturating_mul(VALUE_BYTES))))?;
    let mut read = Tree {
        left: tree.numbers_at("left_children")?,
        right: tree.numbers_at("right_children")?,
        feature: tree.numbers_at("split_indices")?,
        below: tree.numbers_at("split_conditions")?,
        default_left: tree.numbers_at::<i64>("default_left")?.iter().map(|d| *d != 0).collect(),
        ..Tree::default()
    };
    if [read.right.len(), read.feature.len(), read.below.len(), read.default_left.len()].iter().any(|n| *n != nodes) {
        return Err("node arrays differ in length".to_owned());
    }
    read.values = leaves(tree, &read, stride)?;
    read.sets = sets(tree, nodes, allowance)?;
    Ok(read)
}

/// The values of the leaves, `stride` per node.
fn leaves(tree: &Value<'_>, read: &Tree, stride: usize) -> Result<Vec<f32>, String> {
    if stride == 1 {
        return Ok(read.below.clone());
    }
    let nodes = read.left.len();
    let Some(packed) = tree.get("leaf_weights") else {
        // before 3.2 every node has its weights
        let weights: Vec<f32> = tree.numbers_at("base_weights")?;
        return if Some(weights.len()) == nodes.checked_mul(stride) { Ok(weights) } else { Err(wrong(stride)) };
    };
    let packed: Vec<f32> = packed.numbers().map_err(|e| format!("leaf_weights {e}"))?;
    let size = nodes.checked_mul(stride).filter(|size| *size <= packed.len().saturating_mul(2));
    let mut values = vec![0.0; size.ok_or_else(|| wrong(stride))?];
    for node in (0..nodes).filter(|node| read.left[*node] < 0) {
        // the right child of a leaf is its place among the leaves
        let from = usize::try_from(read.right[node]).ok().and_then(|leaf| leaf.checked_mul(stride));
        let leaf = from.and_then(|from| packed.get(from..from.checked_add(stride)?)).ok_or_else(|| wrong(stride))?;
        values[node * stride..][..stride].copy_from_slice(leaf);
    }
    Ok(values)
}

fn wrong(stride: usize) -> String {
    format!("leaves do not have {stride} values")
}

/// The categories of every split by category.
fn sets(tree: &Value<'_>, nodes: usize, allowance: &Allowance) -> Result<HashMap<usize, Vec<f64>>, String> {
    let mut sets = HashMap::new();
    let Some(split_type) = tree.get("split_type") else { return Ok(sets) };
    let types: Vec<i64> = split_type.numbers().map_err(|e| format!("split_type {e}"))?;
    let lengths = ["categories_nodes", "categories"].map(|key| tree.get(key).map_or(0, Value::len));
    allowance.spend(lengths[0].saturating_mul(SET_BYTES).saturating_add(lengths[1].saturating_mul(VALUE_BYTES)))?;
    let owners: Vec<i64> = tree.numbers_at("categories_nodes")?;
    let (starts, sizes): (Vec<i64>, Vec<i64>) =
        (tree.numbers_at("categories_segments")?, tree.numbers_at("categories_sizes")?);
    let categories: Vec<i64> = tree.numbers_at("categories")?;
    if starts.len() != owners.len() || sizes.len() != owners.len() || types.len() != nodes {
        return Err("arrays of categories differ in length".to_owned());
    }
    let mut left = categories.len();
    for ((owner, start), size) in owners.iter().zip(&starts).zip(&sizes) {
        let (Ok(owner), Ok(start), Ok(size)) =
            (usize::try_from(*owner), usize::try_from(*start), usize::try_from(*size))
        else {
            return Err("has a negative place of categories".to_owned());
        };
        let members = start.checked_add(size).and_then(|end| categories.get(start..end));
        let members = members.filter(|_| owner < nodes).ok_or("categories out of range")?;
        left = left.checked_sub(size).ok_or("splits share categories")?;
        sets.insert(owner, members.iter().map(|c| *c as f64).collect());
    }
    let by_category = types.iter().filter(|t| **t == 1).count();
    if by_category != sets.len() || sets.keys().any(|node| types[*node] != 1) {
        return Err("split_type does not match categories_nodes".to_owned());
    }
    Ok(sets)
}

fn push(builder: &mut ForestBuilder, tree: &Tree) -> Result<(), String> {
    let (mut left, mut right, mut missing_left) = (tree.left.clone(), tree.right.clone(), tree.default_left.clone());
    for node in tree.sets.keys() {
        // members go right in XGBoost, left in the kernel
        std::mem::swap(&mut left[*node], &mut right[*node]);
        missing_left[*node] = !missing_left[*node];
    }
    // `x < t` is `x <= the float before t`; leaves and splits by category have none
    let none = |node: usize| tree.left[node] < 0 || tree.sets.contains_key(&node);
    let threshold = tree.below.iter().enumerate();
    let threshold: Vec<f64> =
        threshold.map(|(node, t)| if none(node) { 0.0 } else { f64::from(t.next_down()) }).collect();
    let values: Vec<f64> = tree.values.iter().map(|v| f64::from(*v)).collect();
    let raw = RawTree {
        left: &left,
        right: &right,
        feature: &tree.feature,
        threshold: &threshold,
        missing_left: &missing_left,
        rules: &[],
        sets: Some(&tree.sets),
        values: &values,
    };
    builder.push(&raw, 1.0)
}

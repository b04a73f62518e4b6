//! LightGBM's trees: text to the tables of the kernels.

use std::collections::HashMap;

use forebay_artefact::Allowance;

use super::Sums;
use super::linear::{LinearLeaf, LinearLeaves};
use super::text::{Block, Header};
use crate::Fault;
use crate::forest::{Aggregate, Category, Forest, ForestBuilder, MissingRule, Precision, RawTree};

/// The most leaves of a tree.
const MAX_LEAVES: usize = 1 << 24;

/// The most categories in the sets of a tree.
const MAX_MEMBERS: usize = 1 << 22;
/// Bytes that a tree takes for each of its leaves while it is read, and for each of its sets besides their members.
const LEAF_BYTES: usize = 128;
const SET_BYTES: usize = 96;

/// Bit of a split's `decision_type`: it is by category.
const BY_CATEGORY: u8 = 1;
/// Bit of a split's `decision_type`: missing values go left.
const DEFAULT_LEFT: u8 = 2;

/// Compiles trees.
pub(super) fn read(header: &Header<'_>, blocks: &[Block<'_>], allowance: &Allowance) -> Result<Sums, Fault> {
    if blocks.is_empty() {
        return Ok(Sums::Zero);
    }
    let within = |i: usize| move |e: String| Fault::new(format!("tree {i}"), e);
    let builder = ForestBuilder::new(header.width, 1, Precision::Double).with_category(Category::Truncated);
    let mut builder = builder.within(allowance);
    let mut linear: Option<Vec<LinearLeaf>> = blocks.iter().any(is_linear).then(Vec::new);
    for (i, block) in blocks.iter().enumerate() {
        let (tree, taken) = allowance.measured(|| Tree::read(block, allowance));
        let mut tree = tree.map_err(within(i))?;
        if let Some(leaves) = &mut linear {
            let first = leaves.len();
            linear_leaves(block, &tree, header.width, leaves, allowance).map_err(within(i))?;
            tree.leaves = (first..leaves.len()).map(|leaf| leaf as f64).collect();
        }
        tree.push(&mut builder).map_err(within(i))?;
        allowance.give_back(taken);
    }
    let rounds = (blocks.len() / header.trees_per_iteration) as f64;
    let groups = header.trees_per_iteration;
    let aggregate = match (header.averages, &linear) {
        (true, None) => Aggregate::Mean(rounds),
        _ => Aggregate::Sum(vec![0.0; groups]),
    };
    let forest: Forest = builder.finish(groups, aggregate).map_err(|e| Fault::new("trees", e))?;
    Ok(match linear {
        None => Sums::Constant(Box::new(forest)),
        Some(leaves) => {
            let count = header.averages.then_some(rounds);
            Sums::Linear(Box::new(LinearLeaves { forest, leaves, count }))
        }
    })
}

fn is_linear(block: &Block<'_>) -> bool {
    block.get("is_linear").is_some_and(|v| v.trim() != "0")
}

/// A tree as LightGBM writes it: splits and leaves are numbered separately, and a child is a split, or a leaf if it is
/// negative.
#[derive(Debug)]
struct Tree {
    left: Vec<i64>,
    right: Vec<i64>,
    feature: Vec<i64>,
    threshold: Vec<f64>,
    decision: Vec<u8>,
    leaves: Vec<f64>,
    /// The categories of the splits by category; members go left.
    sets: HashMap<usize, Vec<f64>>,
}

impl Tree {
    fn read(block: &Block<'_>, allowance: &Allowance) -> Result<Self, String> {
        let leaves = block.count("num_leaves", MAX_LEAVES)?;
        if leaves == 0 {
            return Err("has no leaves".to_owned());
        }
        let splits = leaves - 1;
        let values = block.numbers("leaf_value", leaves)?;
        allowance.spend(leaves * LEAF_BYTES)?;
        if splits == 0 {
            let none = Vec::new;
            let (threshold, decision) = (Vec::new(), Vec::new());
            let (left, right, feature) = (none(), none(), none());
            return Ok(Self { left, right, feature, threshold, decision, leaves: values, sets: HashMap::new() });
        }
        let mut tree = Self {
            left: block.numbers("left_child", splits)?,
            right: block.numbers("right_child", splits)?,
            feature: block.numbers("split_feature", splits)?,
            threshold: block.numbers("threshold", splits)?,
            decision: match block.get("decision_type") {
                Some(_) => block.numbers("decision_type", splits)?,
                None => vec![0; splits],
            },
            leaves: values,
            sets: HashMap::new(),
        };
        let by_category = tree.decision.iter().position(|d| d & BY_CATEGORY != 0);
        match (block.count("num_cat", splits)?, by_category) {
            (0, Some(split)) => return Err(format!("split {split} is by category, but there are no sets")),
            (0, None) => {}
            (categories, _) => tree.read_sets(block, categories, allowance)?,
        }
        Ok(tree)
    }

    fn read_sets(&mut self, block: &Block<'_>, count: usize, allowance: &Allowance) -> Result<(), String> {
        let ends: Vec<usize> = block.numbers("cat_boundaries", count + 1)?;
        if !ends.is_sorted() {
            return Err("cat_boundaries are out of order".to_owned());
        }
        let last = ends.last().copied().unwrap_or(0);
        let words: Vec<u32> = block.numbers("cat_threshold", last)?;
        let members = words.iter().map(|w| w.count_ones() as usize).sum::<usize>();
        if members > MAX_MEMBERS {
            return Err(format!("more than {MAX_MEMBERS} categories"));
        }
        allowance.spend(count * SET_BYTES + last * size_of::<u32>() + members * size_of::<f64>())?;
        let mut used = vec![false; count];
        for (node, decision) in self.decision.iter().enumerate() {
            if decision & BY_CATEGORY == 0 {
                continue;
            }
            let set = self.threshold[node];
            let at = (set >= 0.0 && set < count as f64 && set.fract() == 0.0).then_some(set as usize);
            let at = at.filter(|at| !std::mem::replace(&mut used[*at], true));
            let at = at.ok_or_else(|| format!("split {node}: set {set} is not one of {count} of its own"))?;
            let words = &words[ends[at]..ends[at + 1]];
            let member = |bit: &usize| words[bit / 32] >> (bit % 32) & 1 == 1;
            let mut members = Vec::with_capacity(words.iter().map(|word| word.count_ones() as usize).sum());
            members.extend((0..32 * words.len()).filter(member).map(|bit| bit as f64));
            self.sets.insert(node, members);
            self.threshold[node] = 0.0;
        }
        Ok(())
    }

    /// Adds the tree: its splits, then its leaves.
    fn push(&self, builder: &mut ForestBuilder) -> Result<(), String> {
        let (splits, leaves) = (self.left.len(), self.leaves.len());
        let child = |c: &i64| if *c < 0 { (!*c).saturating_add(splits as i64) } else { *c };
        let with_leaves = |children: &[i64]| -> Vec<i64> {
            children.iter().map(child).chain(std::iter::repeat_n(-1, leaves)).collect()
        };
        let (left, right) = (with_leaves(&self.left), with_leaves(&self.right));
        if self.left.iter().chain(&self.right).any(|c| *c >= splits as i64) {
            return Err("child out of range".to_owned());
        }
        let feature: Vec<i64> = self.feature.iter().copied().chain(std::iter::repeat_n(0, leaves)).collect();
        let threshold: Vec<f64> = self.threshold.iter().copied().chain(std::iter::repeat_n(0.0, leaves)).collect();
        let numeric = |d: &u8| d & BY_CATEGORY == 0;
        let missing_left: Vec<bool> = self.decision.iter().map(|d| numeric(d) && d & DEFAULT_LEFT != 0).collect();
        let rules: Vec<MissingRule> = self.decision.iter().map(|d| rule(*d)).collect();
        let values: Vec<f64> = std::iter::repeat_n(0.0, splits).chain(self.leaves.iter().copied()).collect();
        let raw = RawTree {
            left: &left,
            right: &right,
            feature: &feature,
            threshold: &threshold,
            missing_left: &missing_left,
            rules: &rules,
            sets: Some(&self.sets),
            values: &values,
        };
        builder.push(&raw, 1.0)
    }
}

/// Which values are missing at a split: bits 2 and 3 are 0 for none, 1 for zero, 2 for NaN.
fn rule(decision: u8) -> MissingRule {
    match (decision & BY_CATEGORY, decision >> 2 & 3) {
        (BY_CATEGORY, _) | (_, 2) => MissingRule::Nan,
        (_, 1) => MissingRule::NanAndZero,
        _ => MissingRule::NanIsZero,
    }
}

/// Appends the linear functions of a tree's leaves.
fn linear_leaves(
    block: &Block<'_>,
    tree: &Tree,
    width: usize,
    out: &mut Vec<LinearLeaf>,
    allowance: &Allowance,
) -> Result<(), String> {
    let leaves = tree.leaves.len();
    // the list grows, and the text is read to numbers first
    allowance.spend(leaves * (3 * size_of::<LinearLeaf>() + 2 * size_of::<f64>()))?;
    if !is_linear(block) {
        let constant = |v: &f64| LinearLeaf { constant: *v, fallback: *v, terms: Vec::new() };
        out.extend(tree.leaves.iter().map(constant));
        return Ok(());
    }
    let constants: Vec<f64> = block.numbers("leaf_const", leaves)?;
    let counts: Vec<usize> = block.numbers("num_features", leaves)?;
    let total = counts.iter().try_fold(0usize, |n, c| n.checked_add(*c)).ok_or("num_features is too large")?;
    allowance.spend(total.saturating_mul(2 * size_of::<(u32, f64)>()))?;
    let features: Vec<u32> = block.numbers("leaf_features", total)?;
    let coefficients: Vec<f64> = block.numbers("leaf_coeff", total)?;
    let mut from = 0;
    for ((constant, count), fallback) in constants.iter().zip(&counts).zip(&tree.leaves) {
        let terms = features[from..from + count].iter().copied().zip(coefficients[from..from + count].iter().copied());
        let terms: Vec<(u32, f64)> = terms.collect();
        from += count;
        if terms.iter().any(|(f, c)| *f as usize >= width || !c.is_finite()) || !constant.is_finite() {
            return Err("leaf has a feature out of range, or a coefficient that is not finite".to_owned());
        }
        out.push(LinearLeaf { constant: *constant, fallback: *fallback, terms });
    }
    Ok(())
}

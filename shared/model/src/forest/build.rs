//! Checks trees that were read from a file and lays them out for the kernels.

use std::collections::{HashMap, VecDeque};

use forebay_artefact::Allowance;

use super::kernel::FastTables;
use super::set::Set;
use super::walk::{FullNode, FullTables, MAX_FEATURE};
use super::{Aggregate, Category, Fast, Forest, Leaves, MissingRule, Precision, Total};

/// The most nodes that all trees together may have: a gigabyte of tables.
const MAX_NODES: usize = 1 << 25;

/// With more nodes than this, ranks of f64 values cost less than nodes of twice the size.
const RANKS_FROM: usize = 1 << 14;

/// The most set members that all trees together may have.
const MAX_MEMBERS: usize = 1 << 24;

/// Bytes of a node in the tables of both kernels, and of a tree besides its nodes.
const NODE_BYTES: usize = 32;
const TREE_BYTES: usize = 16;

/// One tree with its nodes as parallel arrays; node 0 is the root. All slices have the same length, except that
/// `values` has `stride` values per node.
#[derive(Debug)]
pub(crate) struct RawTree<'t> {
    /// The index of the left child; negative for a leaf.
    pub left: &'t [i64],
    pub right: &'t [i64],
    pub feature: &'t [i64],
    pub threshold: &'t [f64],
    /// Whether missing values go left; empty if the format does not say, and then they go right.
    pub missing_left: &'t [bool],
    /// Which values are missing; empty if only NaN is, at every node.
    pub rules: &'t [MissingRule],
    /// The nodes that split by a set instead of a threshold: members go left.
    pub sets: Option<&'t HashMap<usize, Vec<f64>>>,
    pub values: &'t [f64],
}

/// Collects trees into a [`Forest`].
#[derive(Debug)]
pub(crate) struct ForestBuilder<'a> {
    width: usize,
    stride: usize,
    tables: FullTables,
    leaves: Vec<f64>,
    members: usize,
    allowance: Option<&'a Allowance>,
}

impl<'a> ForestBuilder<'a> {
    /// A forest for rows of `width` values whose trees have `stride` values per leaf.
    pub(crate) fn new(width: usize, stride: usize, precision: Precision) -> Self {
        let tables = FullTables {
            nodes: Vec::new(),
            roots: Vec::new(),
            precision,
            sends_missing_left: false,
            sets: Vec::new(),
            category: Category::Exact,
        };
        Self { width, stride, tables, leaves: Vec::new(), members: 0, allowance: None }
    }

    /// The same builder for trees whose sets contain values as `category` makes them.
    pub(crate) fn with_category(mut self, category: Category) -> Self {
        self.tables.category = category;
        self
    }

    /// The same builder, whose tables are accounted for.
    pub(crate) fn within(mut self, allowance: &'a Allowance) -> Self {
        self.allowance = Some(allowance);
        self
    }

    /// Checks a tree and adds it; leaf values are multiplied by `scale`, as boosting does with its learning rate.
    ///
    /// # Errors
    /// When the tree takes more than the builder may, lengths differ, a child or feature is out of range, a node is
    /// reached twice (which covers cycles), a threshold is NaN or a leaf value is not finite.
    pub(crate) fn push(&mut self, tree: &RawTree<'_>, scale: f64) -> Result<(), String> {
        self.check_lengths(tree)?;
        self.spend(TREE_BYTES + tree.left.len() * NODE_BYTES + size_of_val(tree.values))?;
        let base = self.tables.nodes.len();
        let mut seen = vec![false; tree.left.len()];
        let mut queue = VecDeque::from([0usize]);
        seen[0] = true;
        self.tables.roots.push(base as u32);
        let mut placed = 1;
        while let Some(at) = queue.pop_front() {
            if tree.left[at] < 0 {
                self.push_leaf(tree, at, scale)?;
                continue;
            }
            let feature = usize::try_from(tree.feature[at]).ok().filter(|f| *f < self.width);
            let feature =
                feature.ok_or_else(|| format!("node {at}: feature {} of {}", tree.feature[at], self.width))?;
            if tree.threshold[at].is_nan() {
                return Err(format!("node {at}: threshold is NaN"));
            }
            for child in [tree.left[at], tree.right[at]] {
                let child = usize::try_from(child).ok().filter(|c| *c < seen.len());
                let child = child.ok_or_else(|| format!("node {at}: child out of range"))?;
                if std::mem::replace(&mut seen[child], true) {
                    return Err(format!("node {at}: child {child} is reached twice"));
                }
                queue.push_back(child);
            }
            let missing_left = tree.missing_left.get(at).copied().unwrap_or(false);
            self.tables.sends_missing_left |= missing_left;
            let left = (base + placed) as u32;
            let node = match tree.sets.and_then(|sets| sets.get(&at)) {
                None => FullNode::split(feature as u32, tree.threshold[at], left, missing_left),
                Some(set) => FullNode::member(feature as u32, self.push_set(set)?, left, missing_left),
            };
            let rule = tree.rules.get(at).copied().unwrap_or(MissingRule::Nan);
            self.tables.nodes.push(node.with_rule(rule));
            placed += 2;
        }
        Ok(())
    }

    fn spend(&self, bytes: usize) -> Result<(), String> {
        Ok(self.allowance.map_or(Ok(()), |allowance| allowance.spend(bytes))?)
    }

    /// Adds a set, rounded as values are. Returns its index.
    fn push_set(&mut self, set: &[f64]) -> Result<u32, String> {
        let single = self.tables.precision == Precision::Single;
        let members = size_of_val(set);
        self.spend(members)?;
        let set = Set::of(set.iter().map(|v| if single { f64::from(*v as f32) } else { *v }));
        self.members += set.len() + 1;
        if self.members > MAX_MEMBERS {
            return Err(format!("more than {MAX_MEMBERS} members of sets"));
        }
        self.spend(set.bytes())?;
        self.allowance.inspect(|allowance| allowance.give_back(members));
        self.tables.sets.push(set);
        Ok((self.tables.sets.len() - 1) as u32)
    }

    fn push_leaf(&mut self, tree: &RawTree<'_>, at: usize, scale: f64) -> Result<(), String> {
        let ordinal = (self.leaves.len() / self.stride) as u32;
        for value in &tree.values[at * self.stride..(at + 1) * self.stride] {
            let value = scale * value;
            if !value.is_finite() {
                return Err(format!("node {at}: leaf value is {value}"));
            }
            self.leaves.push(value);
        }
        self.tables.nodes.push(FullNode::leaf(ordinal));
        Ok(())
    }

    fn check_lengths(&self, tree: &RawTree<'_>) -> Result<(), String> {
        let n = tree.left.len();
        let same = [tree.right.len(), tree.feature.len(), tree.threshold.len()].iter().all(|l| *l == n);
        if n == 0 || !same || Some(tree.values.len()) != n.checked_mul(self.stride) {
            return Err("node arrays are empty or differ in length".to_owned());
        }
        if self.tables.nodes.len() + n > MAX_NODES {
            return Err(format!("more than {MAX_NODES} nodes"));
        }
        Ok(())
    }

    /// Finishes the forest.
    ///
    /// `outputs` is the stride, or, for boosting with one value per leaf, the number of outputs that the trees
    /// alternate over.
    ///
    /// # Errors
    /// When there are no trees, rows are too wide, or the start values do not match.
    pub(crate) fn finish<V: Total>(self, outputs: usize, aggregate: Aggregate) -> Result<Forest<V>, String> {
        if self.tables.roots.is_empty() {
            return Err("has no trees".to_owned());
        }
        if self.width == 0 || self.width > MAX_FEATURE || outputs == 0 {
            return Err(format!("takes {} values and gives {outputs}", self.width));
        }
        let spread = self.stride == 1 && outputs > 1;
        if !spread && outputs != self.stride {
            return Err(format!("{} values per leaf for {outputs} outputs", self.stride));
        }
        if spread && !self.tables.roots.len().is_multiple_of(outputs) {
            return Err(format!("{} trees for {outputs} outputs", self.tables.roots.len()));
        }
        if let Aggregate::Sum(start) = &aggregate
            && (start.len() != outputs || start.iter().any(|v| !v.is_finite()))
        {
            return Err("start values are not one finite number per output".to_owned());
        }
        let double = || FastTables::new(&self.tables, self.width).map_or(Fast::Unfit, Fast::Double);
        let fast = match self.tables.precision {
            Precision::Single => FastTables::new(&self.tables, self.width).map_or(Fast::Unfit, Fast::Single),
            Precision::Double if self.tables.nodes.len() > RANKS_FROM => {
                FastTables::ranked(&self.tables).map_or_else(double, Fast::Ranked)
            }
            Precision::Double => double(),
        };
        let leaves = Leaves { stride: self.stride, values: self.leaves.into_iter().map(V::of).collect() };
        Ok(Forest { width: self.width, outputs, spread, aggregate, full: self.tables, fast, leaves })
    }
}

#[cfg(test)]
pub(super) mod samples;
#[cfg(test)]
mod tests;

//! The general kernel, in plain indexed code: any width, f64 thresholds, a direction for missing values, splits by
//! membership in a set.

use super::set::Set;
use super::{Category, MissingRule, Precision, Sums, Total, ZERO};

/// Bit of [`FullNode::feature`]: the node is a leaf, and `left` is its ordinal.
const LEAF: u32 = 1 << 31;
/// Bit of [`FullNode::feature`]: missing values go left.
const MISSING_LEFT: u32 = 1 << 30;
/// Bit of [`FullNode::feature`]: the threshold is the index of a set, whose members go left.
const MEMBER: u32 = 1 << 29;

/// Bit of [`FullNode::feature`]: zero is a missing value.
const ZERO_MISSING: u32 = 1 << 28;
/// Bit of [`FullNode::feature`]: NaN is zero.
const NAN_ZERO: u32 = 1 << 27;

/// The highest feature index that the node layout can hold.
pub(super) const MAX_FEATURE: usize = (NAN_ZERO - 1) as usize;

/// A split or a leaf. The right child comes after the left one.
#[derive(Debug, Clone, Copy)]
pub(super) struct FullNode {
    pub threshold: f64,
    pub left: u32,
    feature: u32,
}

impl FullNode {
    pub(super) fn split(feature: u32, threshold: f64, left: u32, missing_left: bool) -> Self {
        Self { threshold, left, feature: feature | if missing_left { MISSING_LEFT } else { 0 } }
    }

    /// A split by membership in set number `set` of the tables.
    pub(super) fn member(feature: u32, set: u32, left: u32, missing_left: bool) -> Self {
        let mut node = Self::split(feature, f64::from(set), left, missing_left);
        node.feature |= MEMBER;
        node
    }

    /// The same split with another rule for missing values.
    pub(super) fn with_rule(mut self, rule: MissingRule) -> Self {
        self.feature |= match rule {
            MissingRule::Nan => 0,
            MissingRule::NanAndZero => ZERO_MISSING | NAN_ZERO,
            MissingRule::NanIsZero => NAN_ZERO,
        };
        self
    }

    /// Which values are missing.
    pub(super) fn rule(self) -> MissingRule {
        match self.feature & (ZERO_MISSING | NAN_ZERO) {
            0 => MissingRule::Nan,
            NAN_ZERO => MissingRule::NanIsZero,
            _ => MissingRule::NanAndZero,
        }
    }

    /// The value that the split compares; NaN if it is missing.
    fn value(self, x: f64) -> f64 {
        match self.rule() {
            MissingRule::Nan => x,
            MissingRule::NanIsZero if x.is_nan() => 0.0,
            MissingRule::NanAndZero if x.abs() <= ZERO => f64::NAN,
            _ => x,
        }
    }

    pub(super) fn leaf(ordinal: u32) -> Self {
        Self { threshold: 0.0, left: ordinal, feature: LEAF }
    }

    pub(super) fn is_leaf(self) -> bool {
        self.feature & LEAF != 0
    }

    pub(super) fn feature(self) -> u32 {
        self.feature & (NAN_ZERO - 1)
    }

    /// The index of the node's set, if it has one.
    pub(super) fn set(self) -> Option<usize> {
        (self.feature & MEMBER != 0).then_some(self.threshold as usize)
    }

    pub(super) fn missing_left(self) -> bool {
        self.feature & MISSING_LEFT != 0
    }
}

/// The nodes of all trees, one tree after another; each tree is breadth-first with siblings adjacent.
#[derive(Debug)]
pub(super) struct FullTables {
    pub nodes: Vec<FullNode>,
    pub roots: Vec<u32>,
    pub precision: Precision,
    /// Whether any node sends missing values left.
    pub sends_missing_left: bool,
    /// The sets of splits by membership.
    pub sets: Vec<Set>,
    /// How a value is looked up in a set.
    pub category: Category,
}

impl Category {
    fn of(self, x: f64) -> f64 {
        match self {
            Self::Exact => x,
            Self::Truncated => x.trunc(),
            Self::Floor => x.floor(),
        }
    }
}

impl FullTables {
    /// Adds the leaf of every tree for every row.
    pub(super) fn sum<V: Total>(&self, rows: &[f64], width: usize, sums: &Sums<'_, V>, out: &mut [V]) {
        self.visit(rows, width, sums.outputs, out, |out, _, tree, leaf| sums.add::<false>(out, tree, leaf));
    }

    /// Calls `f(outputs of the row, row, tree, leaf)` for every row and tree.
    pub(super) fn visit<V>(
        &self,
        rows: &[f64],
        width: usize,
        outputs: usize,
        out: &mut [V],
        f: impl Fn(&mut [V], &[f64], usize, u32),
    ) {
        let mut rounded = Vec::with_capacity(width);
        for (row, out) in rows.chunks_exact(width).zip(out.chunks_exact_mut(outputs)) {
            rounded.clear();
            rounded.extend(row.iter().map(|&v| match self.precision {
                Precision::Single => f64::from(v as f32),
                Precision::Double => v,
            }));
            for (tree, &root) in self.roots.iter().enumerate() {
                f(out, row, tree, self.leaf(root, &rounded));
            }
        }
    }

    /// The ordinal of the leaf that a row reaches. This ends because children come after their parents.
    fn leaf(&self, root: u32, row: &[f64]) -> u32 {
        let mut node = self.nodes[root as usize];
        while !node.is_leaf() {
            let x = node.value(row[node.feature() as usize]);
            let left = match node.set() {
                _ if x.is_nan() => node.missing_left(),
                None => x <= node.threshold,
                Some(set) => self.sets[set].contains(self.category.of(x)),
            };
            node = self.nodes[(node.left + u32::from(!left)) as usize];
        }
        node.left
    }
}

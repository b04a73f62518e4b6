//! The fast kernel: 8-byte nodes (16 for f64 input), branch-free steps, several walks interleaved to hide load latency
//! (predication and interleaving as in VPred: Asadi, Lin, de Vries, "Runtime Optimizations for Tree-Based
//! Machine Learning Models", TKDE 2014).
//!
//! A node is `{threshold, feature in 8 bits | left child in 24 bits}`; the right child comes after the left one,
//! so a step is `left + !(x <= threshold)`. If the input is f32, thresholds are rounded toward minus infinity
//! to f32, which keeps the result of `f32 x <= f64 t`. Rows are copied to a fixed width of floats whose last column is
//! 0.0; a leaf tests that column against a positive number and names itself as left child, so a walk that has
//! arrived stays. The positive number also encodes which leaf it is. Splits that send missing values left, or know
//! others than NaN, compare columns of their own in which missing values have been replaced; see [`Columns`].

#![expect(unsafe_code, reason = "node access without bounds check; indices are proved in range in FastTables::new")]

use super::columns::Columns;
use super::lane::Lane;
use super::walk::FullTables;
use super::{Sums, Total};

/// The number of walks that are interleaved for one row, over several trees.
const TREES: usize = 20;
/// The number of walks that are interleaved for one tree, over several rows.
const ROWS: usize = 8;
/// Batches of fewer rows are walked row by row: all trees for one row.
const BLOCK_FROM: usize = 48;
/// With more nodes than this, the tables do not stay in the cache from one row to the next, and blocks of rows always
/// pay off.
const CACHED_NODES: usize = 100_000;
/// Children are addressed with 24 bits.
const MAX_NODES: usize = 1 << 24;
/// Features are addressed with 8 bits, and leaves need one column.
const MAX_WIDTH: usize = 255;

#[derive(Debug, Clone, Copy)]
struct FastNode<T> {
    threshold: T,
    packed: u32,
}

/// How a block of rows walks a tree. A step that checks whether all walks have ended costs more than one that does not,
/// and the branch on the result is mispredicted once per block.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// The number of steps without a check: the depth of the nearest leaf, in a shallow tree that of the farthest.
    sure: u32,
    /// Whether walks may continue after them.
    open: bool,
}

/// Trees up to this depth are walked to the end without a check.
const SHALLOW: u32 = 9;

impl Pace {
    /// Levels are stored one after another. If they were not, surplus steps would still change nothing: a walk on a
    /// leaf stays there.
    fn of(full: &FullTables, root: u32) -> Self {
        let (mut level, mut depth, mut nearest) = (root as usize..root as usize + 1, 0, None);
        while let Some(nodes) = full.nodes.get(level.clone()) {
            if nodes.iter().any(|node| node.is_leaf()) {
                nearest.get_or_insert(depth);
            }
            let mut splits = nodes.iter().filter(|node| !node.is_leaf());
            let Some(first) = splits.next() else {
                return if depth <= SHALLOW { Self { sure: depth, open: false } } else { Self::until(nearest) };
            };
            let last = splits.next_back().unwrap_or(first);
            if last.left < first.left {
                break;
            }
            level = first.left as usize..last.left as usize + 2;
            depth += 1;
        }
        Self::until(None)
    }

    fn until(nearest: Option<u32>) -> Self {
        Self { sure: nearest.unwrap_or(0), open: true }
    }
}

/// The node tables of the fast kernel.
///
/// Invariant, established in [`FastTables::new`] and never changed (fields are private to this module): for
/// every node, `(packed >> 8) + 1 < nodes.len()`, and every root is below `nodes.len()`. Hence whatever a step
/// compares, the index it returns is in range.
#[derive(Debug)]
pub(super) struct FastTables<T> {
    nodes: Vec<FastNode<T>>,
    roots: Vec<u32>,
    pace: Vec<Pace>,
    columns: Columns<T>,
}

impl<T: Lane> FastTables<T> {
    /// Narrows validated tables. Returns `None` if they exceed the narrow layout.
    pub(super) fn new(full: &FullTables, width: usize) -> Option<Self> {
        let columns = (full.precision == T::PRECISION).then(|| Columns::of(full, width, MAX_WIDTH))??;
        Self::of(full, columns)
    }

    /// As [`FastTables::new`], for tables of any precision, with ranks for values and thresholds.
    pub(super) fn ranked(full: &FullTables) -> Option<Self> {
        Self::of(full, Columns::ranks(full, MAX_WIDTH)?)
    }

    fn of(full: &FullTables, columns: Columns<T>) -> Option<Self> {
        if full.nodes.len() >= MAX_NODES || !full.sets.is_empty() {
            return None;
        }
        let leaf_column = columns.padded() as u32 - 1;
        let mut nodes: Vec<FastNode<T>> = Vec::with_capacity(full.nodes.len() + 1);
        for (at, node) in full.nodes.iter().enumerate() {
            nodes.push(if node.is_leaf() {
                FastNode { threshold: T::leaf(node.left), packed: (at as u32) << 8 | leaf_column }
            } else {
                FastNode { threshold: columns.threshold(*node), packed: node.left << 8 | columns.index(*node) }
            });
        }
        // one node after the last, so that even a leaf's "right child" exists
        nodes.push(FastNode { threshold: T::leaf(0), packed: leaf_column });
        let in_range = |n: &FastNode<T>| (n.packed >> 8) as usize + 1 < nodes.len();
        let sound = nodes.iter().all(in_range) && full.roots.iter().all(|r| (*r as usize) < nodes.len());
        let pace = full.roots.iter().map(|root| Pace::of(full, *root)).collect();
        sound.then(|| Self { roots: full.roots.clone(), pace, columns, nodes })
    }

    /// Whether missing values go where they should. If not, they all go right.
    pub(super) fn knows_missing(&self) -> bool {
        self.columns.know_missing()
    }

    /// Adds the leaf of every tree for every row.
    pub(super) fn sum<V: Total>(&self, rows: &[f64], width: usize, sums: &Sums<'_, V>, out: &mut [V]) {
        match sums.single() {
            true => self.sum_into::<true, V>(rows, width, sums, out),
            false => self.sum_into::<false, V>(rows, width, sums, out),
        }
    }

    fn sum_into<const ONE: bool, V: Total>(&self, rows: &[f64], width: usize, sums: &Sums<'_, V>, out: &mut [V]) {
        match self.columns.padded() {
            16 => self.sum_in::<16, ONE, V>(rows, width, sums, out),
            32 => self.sum_in::<32, ONE, V>(rows, width, sums, out),
            64 => self.sum_in::<64, ONE, V>(rows, width, sums, out),
            128 => self.sum_in::<128, ONE, V>(rows, width, sums, out),
            _ => self.sum_in::<256, ONE, V>(rows, width, sums, out),
        }
    }

    fn sum_in<const W: usize, const ONE: bool, V: Total>(
        &self,
        rows: &[f64],
        width: usize,
        sums: &Sums<'_, V>,
        out: &mut [V],
    ) {
        let outputs = if ONE { 1 } else { sums.outputs };
        let n = rows.len() / width;
        let block_from = if self.nodes.len() > CACHED_NODES { ROWS } else { BLOCK_FROM };
        if n < block_from {
            let mut padded = [T::default(); W];
            for (row, out) in rows.chunks_exact(width).zip(out.chunks_exact_mut(outputs)) {
                self.columns.fill(row, &mut padded);
                self.sum_row::<W, ONE, V>(&padded, sums, out);
            }
            return;
        }
        let mut padded = vec![[T::default(); W]; n.next_multiple_of(ROWS)];
        for (p, row) in padded.iter_mut().zip(rows.chunks_exact(width)) {
            self.columns.fill(row, p);
        }
        for (tree, (&root, pace)) in self.roots.iter().zip(&self.pace).enumerate() {
            for (block, out) in padded.chunks_exact(ROWS).zip(out.chunks_mut(ROWS * outputs)) {
                let mut at = [root; ROWS];
                for _ in 0..pace.sure {
                    at.iter_mut().zip(block).for_each(|(at, row)| *at = self.step(*at, row));
                }
                if pace.open {
                    self.settle(&mut at, block);
                }
                for (at, out) in at.iter().zip(out.chunks_exact_mut(outputs)) {
                    sums.add::<ONE>(out, tree, self.leaf(*at));
                }
            }
        }
    }

    /// Walks until no walk moves any more.
    #[inline(always)]
    fn settle<const W: usize>(&self, at: &mut [u32; ROWS], block: &[[T; W]]) {
        loop {
            let mut moved = 0;
            for (at, row) in at.iter_mut().zip(block) {
                let next = self.step(*at, row);
                moved |= next ^ *at;
                *at = next;
            }
            if moved == 0 {
                break;
            }
        }
    }

    /// Walks one row through all trees, `TREES` at a time.
    fn sum_row<const W: usize, const ONE: bool, V: Total>(&self, row: &[T; W], sums: &Sums<'_, V>, out: &mut [V]) {
        for (group, roots) in self.roots.chunks(TREES).enumerate() {
            let mut at = [roots[0]; TREES];
            at[..roots.len()].copy_from_slice(roots);
            loop {
                let mut moved = 0;
                for at in &mut at {
                    let next = self.step(*at, row);
                    moved |= next ^ *at;
                    *at = next;
                }
                if moved == 0 {
                    break;
                }
            }
            for (i, at) in at[..roots.len()].iter().enumerate() {
                sums.add::<ONE>(out, group * TREES + i, self.leaf(*at));
            }
        }
    }

    /// One step of a walk. A walk on a leaf stays there; NaN goes right.
    #[inline(always)]
    #[expect(clippy::neg_cmp_op_on_partial_ord, reason = "NaN must go right, and this form needs no branch")]
    fn step<const W: usize>(&self, at: u32, row: &[T; W]) -> u32 {
        debug_assert!((at as usize) < self.nodes.len());
        // SAFETY: `at` is a root, or what this function returned before. Roots are in range and so is
        // `(packed >> 8) + 1` for every node, by the type's invariant; the result is at most that.
        let node = unsafe { *self.nodes.get_unchecked(at as usize) };
        let x = row[node.packed as usize & 255 & (W - 1)];
        (node.packed >> 8) + u32::from(!(x <= node.threshold))
    }

    /// The ordinal of the leaf that a walk arrived at.
    #[inline(always)]
    fn leaf(&self, at: u32) -> u32 {
        self.nodes[at as usize].threshold.ordinal()
    }
}

//! The fast kernel: 8-byte nodes, branch-free steps, several walks interleaved to hide load latency
//! (predication and interleaving as in VPred: Asadi, Lin, de Vries, "Runtime Optimizations for Tree-Based
//! Machine Learning Models", TKDE 2014).
//!
//! A node is `{f32 threshold, feature in 8 bits | left child in 24 bits}`; the right child stands behind the
//! left one, so a step is `left + !(x <= threshold)`. Thresholds are rounded toward minus infinity to f32,
//! which keeps `f32 x <= f64 t` as it was. Rows are copied to a fixed width of floats whose last column is
//! 0.0; a leaf tests that column against a positive number and names itself as left child, so a walk that has
//! arrived stays. The positive number also encodes which leaf it is.

#![expect(unsafe_code, reason = "node access without bounds check; indices are proved in range in FastTables::new")]

use super::walk::FullTables;
use super::{Precision, Sums};

/// Walks interleaved for one row (several trees).
const TREES: usize = 20;
/// Walks interleaved for one tree (several rows).
const ROWS: usize = 8;
/// Batches below this walk row by row.
const BLOCK_FROM: usize = 8;
/// Bits of 1.0f32. Leaf `n` tests against `f32::from_bits(LEAF_BASE + n)`, which is finite and at least 1.
const LEAF_BASE: u32 = 0x3f80_0000;
/// Children are addressed with 24 bits.
const MAX_NODES: usize = 1 << 24;
/// Features are addressed with 8 bits and one column is the leaves' own.
const MAX_WIDTH: usize = 255;

#[derive(Debug, Clone, Copy)]
struct FastNode {
    threshold: f32,
    packed: u32,
}

/// Node tables of the fast kernel.
///
/// Invariant, established in [`FastTables::new`] and never changed (fields are private to this module): for
/// every node, `(packed >> 8) + 1 < nodes.len()`, and every root is below `nodes.len()`. Hence whatever a step
/// compares, the index it gives is in range.
#[derive(Debug)]
pub(super) struct FastTables {
    nodes: Vec<FastNode>,
    roots: Vec<u32>,
    columns: usize,
}

/// The largest f32 that is not above `t`.
fn floor_f32(t: f64) -> f32 {
    let near = t as f32;
    if f64::from(near) > t { near.next_down() } else { near }
}

impl FastTables {
    /// Narrows validated tables, or `None` when they need more than the narrow layout has.
    pub(super) fn new(full: &FullTables, width: usize) -> Option<Self> {
        let fits = width <= MAX_WIDTH && full.nodes.len() < MAX_NODES && full.precision == Precision::Single;
        if !fits {
            return None;
        }
        let columns = (width + 1).next_power_of_two().max(16);
        let leaf_column = columns as u32 - 1;
        let mut nodes: Vec<FastNode> = Vec::with_capacity(full.nodes.len() + 1);
        for (at, node) in full.nodes.iter().enumerate() {
            nodes.push(if node.is_leaf() {
                let threshold = f32::from_bits(LEAF_BASE + node.left);
                FastNode { threshold, packed: (at as u32) << 8 | leaf_column }
            } else {
                FastNode { threshold: floor_f32(node.threshold), packed: node.left << 8 | node.feature() }
            });
        }
        // one node behind the last, so that even a leaf's "right child" exists
        nodes.push(FastNode { threshold: f32::from_bits(LEAF_BASE), packed: leaf_column });
        let in_range = |n: &FastNode| (n.packed >> 8) as usize + 1 < nodes.len();
        let sound = nodes.iter().all(in_range) && full.roots.iter().all(|r| (*r as usize) < nodes.len());
        sound.then(|| Self { roots: full.roots.clone(), columns, nodes })
    }

    /// Adds every tree's leaf for every row.
    pub(super) fn sum(&self, rows: &[f64], width: usize, sums: &Sums<'_>, out: &mut [f64]) {
        match self.columns {
            16 => self.sum_in::<16>(rows, width, sums, out),
            32 => self.sum_in::<32>(rows, width, sums, out),
            64 => self.sum_in::<64>(rows, width, sums, out),
            128 => self.sum_in::<128>(rows, width, sums, out),
            _ => self.sum_in::<256>(rows, width, sums, out),
        }
    }

    fn sum_in<const W: usize>(&self, rows: &[f64], width: usize, sums: &Sums<'_>, out: &mut [f64]) {
        let n = rows.len() / width;
        if n < BLOCK_FROM {
            let mut padded = [0f32; W];
            for (row, out) in rows.chunks_exact(width).zip(out.chunks_exact_mut(sums.outputs)) {
                padded.iter_mut().zip(row).for_each(|(p, v)| *p = *v as f32);
                self.sum_row(&padded, sums, out);
            }
            return;
        }
        let mut padded = vec![[0f32; W]; n.next_multiple_of(ROWS)];
        for (p, row) in padded.iter_mut().zip(rows.chunks_exact(width)) {
            p.iter_mut().zip(row).for_each(|(p, v)| *p = *v as f32);
        }
        for (tree, &root) in self.roots.iter().enumerate() {
            for (block, out) in padded.chunks_exact(ROWS).zip(out.chunks_mut(ROWS * sums.outputs)) {
                let mut at = [root; ROWS];
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
                for (at, out) in at.iter().zip(out.chunks_exact_mut(sums.outputs)) {
                    sums.add(out, tree, self.leaf(*at));
                }
            }
        }
    }

    /// One row through all trees, `TREES` at a time.
    fn sum_row<const W: usize>(&self, row: &[f32; W], sums: &Sums<'_>, out: &mut [f64]) {
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
                sums.add(out, group * TREES + i, self.leaf(*at));
            }
        }
    }

    /// One step of a walk; a walk on a leaf stays there. NaN goes right.
    #[inline(always)]
    #[expect(clippy::neg_cmp_op_on_partial_ord, reason = "NaN must go right, and this form needs no branch")]
    fn step<const W: usize>(&self, at: u32, row: &[f32; W]) -> u32 {
        debug_assert!((at as usize) < self.nodes.len());
        // SAFETY: `at` is a root, or what this function gave before. Roots are in range and so is
        // `(packed >> 8) + 1` for every node, by the type's invariant; the result is at most that.
        let node = unsafe { *self.nodes.get_unchecked(at as usize) };
        let x = row[node.packed as usize & 255 & (W - 1)];
        (node.packed >> 8) + u32::from(!(x <= node.threshold))
    }

    /// Ordinal of the leaf a walk arrived at.
    #[inline(always)]
    fn leaf(&self, at: u32) -> u32 {
        self.nodes[at as usize].threshold.to_bits().wrapping_sub(LEAF_BASE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounded_thresholds_compare_as_before() {
        let thresholds = [0.1, -0.1, 1e-50, -1e-50, 1e300, -1e300, 0.0, f64::INFINITY, 16_777_217.0, 0.5];
        for t in thresholds {
            let f = floor_f32(t);
            for x in [f, f.next_up(), f.next_down(), f32::MAX, f32::MIN, 0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY] {
                assert_eq!(f64::from(x) <= t, x <= f, "{x} <= {t}");
            }
        }
    }
}

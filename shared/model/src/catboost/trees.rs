//! CatBoost's trees over the bytes of splits. A symmetric tree has one split per level; the bits of its splits are the
//! number of the leaf.

use super::parts::{Node, Parts, Step, Trees};

/// A symmetric tree: its splits, and the place of its first leaf value.
#[derive(Debug, Clone, Copy)]
struct Symmetric {
    splits: u32,
    depth: u8,
    leaves: u32,
}

#[derive(Debug)]
enum Shape {
    Symmetric { trees: Vec<Symmetric>, splits: Vec<u32> },
    Any { nodes: Vec<Node>, roots: Vec<u32> },
}

/// The trees of a model, checked against its splits and leaves.
#[derive(Debug)]
pub(super) struct Forest {
    dimension: usize,
    shape: Shape,
    leaves: Vec<f64>,
}

impl Forest {
    /// Checks the trees of a model with `splits` splits.
    pub(super) fn of(parts: &mut Parts, splits: usize) -> Result<Self, String> {
        let leaves = std::mem::take(&mut parts.leaves);
        if leaves.iter().any(|v| !v.is_finite()) {
            return Err("a leaf value is not finite".to_owned());
        }
        let trees = std::mem::replace(&mut parts.trees, Trees::Symmetric(Vec::new()));
        let shape = match trees {
            Trees::Symmetric(trees) => symmetric(&trees, splits, parts.dimension, leaves.len())?,
            Trees::Any { nodes, roots } => any(nodes, roots, splits, parts.dimension, leaves.len())?,
        };
        Ok(Self { dimension: parts.dimension, shape, leaves })
    }

    /// Adds the leaves of `L` rows to their sums, `dimension` per row.
    pub(super) fn sum<const L: usize>(&self, holds: &[[u8; L]], sums: &mut [f64]) {
        match &self.shape {
            Shape::Symmetric { trees, splits } if self.dimension == 1 => {
                for tree in trees {
                    let leaves = &self.leaves[tree.leaves as usize..];
                    let at = tree.leaf(splits, holds);
                    sums.iter_mut().zip(at).for_each(|(sum, at)| *sum += leaves[at as usize]);
                }
            }
            Shape::Symmetric { trees, splits } => {
                for tree in trees {
                    let leaves = &self.leaves[tree.leaves as usize..];
                    for (sums, at) in sums.chunks_exact_mut(self.dimension).zip(tree.leaf(splits, holds)) {
                        let leaf = &leaves[at as usize * self.dimension..];
                        sums.iter_mut().zip(leaf).for_each(|(sum, v)| *sum += v);
                    }
                }
            }
            Shape::Any { nodes, roots } => {
                for root in roots {
                    for (lane, sums) in sums.chunks_exact_mut(self.dimension).enumerate().take(L) {
                        let leaf = &self.leaves[walk(nodes, *root, holds, lane)..];
                        sums.iter_mut().zip(leaf).for_each(|(sum, v)| *sum += v);
                    }
                }
            }
        }
    }

    /// Describes the trees.
    pub(super) fn name(&self) -> String {
        match &self.shape {
            Shape::Symmetric { trees, .. } => format!("{} symmetric trees", trees.len()),
            Shape::Any { nodes, roots } => format!("{} trees, {} nodes", roots.len(), nodes.len()),
        }
    }
}

impl Symmetric {
    /// The leaves of `L` rows.
    #[inline(always)]
    fn leaf<const L: usize>(self, splits: &[u32], holds: &[[u8; L]]) -> [u16; L] {
        let splits = &splits[self.splits as usize..][..usize::from(self.depth)];
        let (low, high) = splits.split_at(splits.len().min(8));
        let mut at = bits(low, holds).map(u16::from);
        if !high.is_empty() {
            at.iter_mut().zip(bits(high, holds)).for_each(|(at, high)| *at |= u16::from(high) << 8);
        }
        at
    }
}

/// Bit `i` of each byte is whether split `i` of up to eight holds.
#[inline(always)]
fn bits<const L: usize>(splits: &[u32], holds: &[[u8; L]]) -> [u8; L] {
    let mut at = [0u8; L];
    for (level, split) in splits.iter().enumerate() {
        let bit = 1u8 << level;
        at.iter_mut().zip(&holds[*split as usize]).for_each(|(at, holds)| *at |= holds & bit);
    }
    at
}

/// The place of the leaf that a row reaches. This ends because children come after their parents.
fn walk<const L: usize>(nodes: &[Node], root: u32, holds: &[[u8; L]], lane: usize) -> usize {
    let mut at = root;
    loop {
        let node = &nodes[at as usize];
        let step =
            if node.left == node.right || holds[node.split as usize][lane] == 0 { node.left } else { node.right };
        match step {
            Step::Node(next) => at = next,
            Step::Leaf(leaf) => return leaf as usize,
        }
    }
}

fn symmetric(trees: &[Vec<u32>], splits: usize, dimension: usize, leaves: usize) -> Result<Shape, String> {
    let (mut out, mut flat, mut first) = (Vec::with_capacity(trees.len()), Vec::new(), 0usize);
    for (i, tree) in trees.iter().enumerate() {
        if tree.len() > super::MAX_DEPTH {
            return Err(format!("tree {i} is {} levels deep", tree.len()));
        }
        if let Some(split) = tree.iter().find(|split| **split as usize >= splits) {
            return Err(format!("tree {i}: split {split} of {splits}"));
        }
        out.push(Symmetric { splits: flat.len() as u32, depth: tree.len() as u8, leaves: first as u32 });
        flat.extend_from_slice(tree);
        first = first.saturating_add(dimension.saturating_mul(1 << tree.len()));
    }
    if first != leaves || first > u32::MAX as usize {
        return Err(format!("{leaves} leaf values, the trees need {first}"));
    }
    Ok(Shape::Symmetric { trees: out, splits: flat })
}

fn any(nodes: Vec<Node>, roots: Vec<u32>, splits: usize, dimension: usize, leaves: usize) -> Result<Shape, String> {
    for (at, node) in nodes.iter().enumerate() {
        for step in [node.left, node.right] {
            let sound = match step {
                Step::Node(next) => next as usize > at && (next as usize) < nodes.len(),
                // sides that are not taken have no leaf
                Step::Leaf(leaf) => (leaf as usize).checked_add(dimension).is_some_and(|end| end <= leaves),
            };
            if !sound {
                return Err(format!("node {at}: child or leaf out of range"));
            }
        }
        if node.left != node.right && node.split as usize >= splits {
            return Err(format!("node {at}: split {} of {splits}", node.split));
        }
    }
    match roots.iter().find(|root| **root as usize >= nodes.len()) {
        Some(root) => Err(format!("tree begins at node {root} of {}", nodes.len())),
        None => Ok(Shape::Any { nodes, roots }),
    }
}

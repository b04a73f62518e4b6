//! Tree ensembles: validated tables, two kernels over them, and the burn operation that runs them.
//!
//! Every forest has [`walk::FullTables`]: f64 thresholds, a missing-value direction per node, any width. Most also have
//! [`kernel::FastTables`], 8-byte nodes walked branch-free several at a time; the results are the same to the bit.
//! Sums are f64, in tree order, as scikit-learn computes them.

mod build;
mod kernel;
mod op;
mod program;
mod walk;

pub(crate) use build::{ForestBuilder, RawTree};
pub(crate) use op::tree_ensemble;

/// How the trees' values become the forest's.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Combine {
    /// Sum from zero, divided by this count: forests, single trees.
    Mean(f64),
    /// Sum from these starting values, one per output: boosting.
    Sum(Vec<f64>),
    /// The least value of any tree.
    Least,
    /// The greatest value of any tree.
    Most,
}

impl Combine {
    /// The leaf value of a tree that says nothing about an output.
    pub(crate) fn absent(&self) -> f64 {
        match self {
            Self::Mean(_) | Self::Sum(_) => 0.0,
            Self::Least => f64::MAX,
            Self::Most => f64::MIN,
        }
    }
}

/// What the input is rounded to before it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precision {
    /// scikit-learn's trees compare the f32 of a value with an f64 threshold.
    Single,
    /// Histogram boosting compares f64.
    Double,
}

/// A validated ensemble. All trees give `outputs` values, or (boosting) one value for output `tree % outputs`.
#[derive(Debug)]
pub(crate) struct Forest {
    width: usize,
    outputs: usize,
    spread: bool,
    combine: Combine,
    full: walk::FullTables,
    fast: Fast,
    leaves: Leaves,
}

/// Tables of the fast kernel in the float the input is compared in, if the forest fits its layout.
#[derive(Debug)]
enum Fast {
    Single(kernel::FastTables<f32>),
    Double(kernel::FastTables<f64>),
    Unfit,
}

/// Leaf values, `stride` per leaf.
#[derive(Debug)]
struct Leaves {
    stride: usize,
    values: Vec<f64>,
}

impl Leaves {
    fn of(&self, leaf: u32) -> &[f64] {
        &self.values[leaf as usize * self.stride..][..self.stride]
    }
}

/// Where a kernel puts the leaf each tree arrived at.
struct Sums<'f> {
    leaves: &'f Leaves,
    outputs: usize,
    spread: bool,
}

impl Sums<'_> {
    /// Whether every tree adds one value to one sum, as regressors do.
    fn single(&self) -> bool {
        self.leaves.stride == 1 && self.outputs == 1
    }

    /// Adds tree `tree`'s leaf to one row's sums. `ONE` is [`Sums::single`], known when the loop around this is compiled.
    #[inline(always)]
    fn add<const ONE: bool>(&self, sums: &mut [f64], tree: usize, leaf: u32) {
        if ONE {
            sums[0] += self.leaves.values[leaf as usize];
        } else if self.leaves.stride == 1 {
            let output = if self.spread { tree % self.outputs } else { 0 };
            sums[output] += self.leaves.values[leaf as usize];
        } else {
            sums.iter_mut().zip(self.leaves.of(leaf)).for_each(|(s, v)| *s += v);
        }
    }
}

impl Forest {
    /// Values per row.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// Values answered per row.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Answers rows given row-major, `out.len() / outputs` of them.
    pub(crate) fn predict(&self, rows: &[f64], out: &mut [f64]) {
        debug_assert_eq!(rows.len() / self.width, out.len() / self.outputs);
        match &self.combine {
            Combine::Mean(_) => out.fill(0.0),
            Combine::Sum(start) => out.chunks_exact_mut(self.outputs).for_each(|o| o.copy_from_slice(start)),
            Combine::Least | Combine::Most => return self.extreme(rows, out),
        }
        let sums = Sums { leaves: &self.leaves, outputs: self.outputs, spread: self.spread };
        // a node that sends missing values left is beyond the fast kernel, which sends them right
        let beyond = self.full.sends_missing_left && rows.iter().any(|v| v.is_nan());
        match &self.fast {
            Fast::Single(fast) if !beyond => fast.sum(rows, self.width, &sums, out),
            Fast::Double(fast) if !beyond => fast.sum(rows, self.width, &sums, out),
            _ => self.full.sum(rows, self.width, &sums, out),
        }
        if let Combine::Mean(count) = self.combine {
            out.iter_mut().for_each(|o| *o /= count);
        }
    }

    /// The least or greatest leaf of all trees; 0 where no tree says anything.
    fn extreme(&self, rows: &[f64], out: &mut [f64]) {
        let absent = self.combine.absent();
        let pick = if self.combine == Combine::Least { f64::min } else { f64::max };
        out.fill(absent);
        self.full.visit(rows, self.width, self.outputs, out, |out, _, leaf| {
            out.iter_mut().zip(self.leaves.of(leaf)).for_each(|(o, v)| *o = pick(*o, *v));
        });
        out.iter_mut().filter(|o| **o == absent).for_each(|o| *o = 0.0);
    }

    /// Name for people.
    pub(crate) fn name(&self) -> String {
        format!("TreeEnsemble({} trees, {} nodes)", self.full.roots.len(), self.full.nodes.len())
    }
}

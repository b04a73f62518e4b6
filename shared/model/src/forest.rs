//! Tree ensembles: validated tables, two kernels over them, and the burn operation that runs them.
//!
//! Every forest has [`walk::FullTables`]: f64 thresholds, a missing-value direction per node, any width. Most also have
//! [`kernel::FastTables`], 8-byte nodes walked branch-free several at a time; the results are the same to the bit.
//! Sums are f64, in tree order, as scikit-learn computes them.

mod build;
mod columns;
mod kernel;
mod lane;
mod op;
mod program;
mod set;
mod walk;

pub(crate) use build::{ForestBuilder, RawTree};
pub(crate) use op::tree_ensemble;

/// How the values of the trees are aggregated.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Aggregate {
    /// The sum divided by this count: forests and single trees.
    Mean(f64),
    /// The sum with these start values, one per output: boosting.
    Sum(Vec<f64>),
    /// The lowest value of any tree.
    Min,
    /// The highest value of any tree.
    Max,
}

impl Aggregate {
    /// The leaf value of a tree that has no value for an output.
    pub(crate) fn absent(&self) -> f64 {
        match self {
            Self::Mean(_) | Self::Sum(_) => 0.0,
            Self::Min => f64::MAX,
            Self::Max => f64::MIN,
        }
    }
}

/// The type that the input is rounded to before it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Precision {
    /// scikit-learn's trees compare the f32 of a value with an f64 threshold.
    Single,
    /// Histogram boosting compares f64.
    Double,
}

/// Which values of a split's feature are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum MissingRule {
    /// NaN.
    Nan,
    /// NaN, and what is as good as zero (LightGBM's `zero_as_missing`).
    NanAndZero,
    /// None: NaN is 0.
    NanIsZero,
}

/// LightGBM's `kZeroThreshold`: values up to this far from zero are zero.
const ZERO: f64 = 1e-35f32 as f64;

/// How a value becomes the category that a split looks up in its set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Category {
    /// The value as it is.
    Exact,
    /// Rounded toward zero.
    Truncated,
    /// Rounded toward minus infinity.
    Floor,
}

/// The type that the leaves of trees are summed in.
pub(crate) trait Total: Copy + std::ops::AddAssign + std::ops::DivAssign + std::fmt::Debug + 'static {
    /// Zero, where sums start.
    const ZERO: Self;
    /// The nearest value.
    fn of(value: f64) -> Self;
}

impl Total for f64 {
    const ZERO: Self = 0.0;

    fn of(value: f64) -> Self {
        value
    }
}

impl Total for f32 {
    const ZERO: Self = 0.0;

    fn of(value: f64) -> Self {
        value as f32
    }
}

/// A validated ensemble of trees. Each tree gives `outputs` values, or, in boosting, one value for output `tree %
/// outputs`. Sums are in `V`.
#[derive(Debug)]
pub(crate) struct Forest<V = f64> {
    width: usize,
    outputs: usize,
    spread: bool,
    aggregate: Aggregate,
    full: walk::FullTables,
    fast: Fast,
    leaves: Leaves<V>,
}

/// The tables of the fast kernel, in the type that the input is compared in, if the forest fits their layout.
#[derive(Debug)]
enum Fast {
    Single(kernel::FastTables<f32>),
    Double(kernel::FastTables<f64>),
    /// For f64 input that is compared by its ranks.
    Ranked(kernel::FastTables<f32>),
    Unfit,
}

/// The values of the leaves, `stride` per leaf.
#[derive(Debug)]
struct Leaves<V> {
    stride: usize,
    values: Vec<V>,
}

impl<V> Leaves<V> {
    fn of(&self, leaf: u32) -> &[V] {
        &self.values[leaf as usize * self.stride..][..self.stride]
    }
}

/// Adds the leaves that a kernel arrives at to the sums of a row.
struct Sums<'f, V> {
    leaves: &'f Leaves<V>,
    outputs: usize,
    spread: bool,
}

impl<V: Total> Sums<'_, V> {
    /// Whether every tree adds one value to a single sum, as in a regressor.
    fn single(&self) -> bool {
        self.leaves.stride == 1 && self.outputs == 1
    }

    /// Adds the leaf of tree `tree` to the sums of one row. `ONE` is [`Sums::single`] as a constant of the calling
    /// loop.
    #[inline(always)]
    fn add<const ONE: bool>(&self, sums: &mut [V], tree: usize, leaf: u32) {
        if ONE {
            sums[0] += self.leaves.values[leaf as usize];
        } else if self.leaves.stride == 1 {
            let output = if self.spread { tree % self.outputs } else { 0 };
            sums[output] += self.leaves.values[leaf as usize];
        } else {
            sums.iter_mut().zip(self.leaves.of(leaf)).for_each(|(s, v)| *s += *v);
        }
    }
}

impl<V: Total> Forest<V> {
    /// The number of values in a row.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// The number of outputs per row.
    pub(crate) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Sums the leaves of `out.len() / outputs` rows, which are row-major, and divides by the count of a mean.
    pub(crate) fn sum(&self, rows: &[f64], out: &mut [V]) {
        debug_assert_eq!(rows.len() / self.width, out.len() / self.outputs);
        match &self.aggregate {
            Aggregate::Sum(start) => out
                .chunks_exact_mut(self.outputs)
                .for_each(|out| out.iter_mut().zip(start).for_each(|(o, s)| *o = V::of(*s))),
            _ => out.fill(V::ZERO),
        }
        let sums = Sums { leaves: &self.leaves, outputs: self.outputs, spread: self.spread };
        let missing = || rows.iter().any(|v| v.is_nan());
        match &self.fast {
            Fast::Single(fast) | Fast::Ranked(fast) if fast.knows_missing() || !missing() => {
                fast.sum(rows, self.width, &sums, out);
            }
            Fast::Double(fast) if fast.knows_missing() || !missing() => fast.sum(rows, self.width, &sums, out),
            _ => self.full.sum(rows, self.width, &sums, out),
        }
        if let Aggregate::Mean(count) = self.aggregate {
            out.iter_mut().for_each(|o| *o /= V::of(count));
        }
    }

    /// Calls `f(outputs of the row, row, tree, ordinal of its leaf)` for every row and tree, in order of trees.
    pub(crate) fn visit(&self, rows: &[f64], out: &mut [V], f: impl Fn(&mut [V], &[f64], usize, u32)) {
        self.full.visit(rows, self.width, self.outputs, out, f);
    }

    /// The values of the leaf with this ordinal.
    pub(crate) fn leaf(&self, ordinal: u32) -> &[V] {
        self.leaves.of(ordinal)
    }

    /// The name that `ops` shows.
    pub(crate) fn name(&self) -> String {
        format!("TreeEnsemble({} trees, {} nodes)", self.full.roots.len(), self.full.nodes.len())
    }
}

impl Forest {
    /// Predicts `out.len() / outputs` rows, which are row-major.
    pub(crate) fn predict(&self, rows: &[f64], out: &mut [f64]) {
        match &self.aggregate {
            Aggregate::Mean(_) | Aggregate::Sum(_) => self.sum(rows, out),
            Aggregate::Min | Aggregate::Max => self.extreme(rows, out),
        }
    }

    /// The lowest or highest leaf of all trees; 0 where no tree has a value.
    fn extreme(&self, rows: &[f64], out: &mut [f64]) {
        let absent = self.aggregate.absent();
        let pick = if self.aggregate == Aggregate::Min { f64::min } else { f64::max };
        out.fill(absent);
        self.full.visit(rows, self.width, self.outputs, out, |out, _, _, leaf| {
            out.iter_mut().zip(self.leaves.of(leaf)).for_each(|(o, v)| *o = pick(*o, *v));
        });
        out.iter_mut().filter(|o| **o == absent).for_each(|o| *o = 0.0);
    }
}

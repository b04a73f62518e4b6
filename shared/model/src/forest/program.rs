//! The forest as a tensor program, for burn backends without a kernel for it.
//!
//! The nodes of all trees are in one flat table. Every walk takes one step per round, for as many rounds as the deepest
//! tree has levels, and leaves point at themselves (tree traversal of Hummingbird: Nakandala et al., "A Tensor Compiler
//! for Unified Machine Learning Prediction Serving", OSDI 2020). Sums are in the type of the rows. On a CPU this is an
//! order of magnitude slower than the kernel, and every call uploads the tables.

use burn::backend::tensor::{BoolTensor, Device, FloatTensor, IntTensor};
use burn::backend::{Backend, DType, TensorMetadata, get_or_init_device_settings};
use burn::tensor::{Shape, TensorData};

use super::lane::Lane;
use super::walk::FullTables;
use super::{Aggregate, Forest, Precision};

/// Node tables, one entry per node of all trees. A leaf is a split that leads back to itself for every row.
#[derive(Debug, Default)]
struct Tables {
    feature: Vec<i64>,
    threshold: Vec<f64>,
    missing_left: Vec<f64>,
    left: Vec<i64>,
    /// `stride` values per node.
    values: Vec<f64>,
    depth: usize,
}

impl Tables {
    /// The tables of `forest`. A split by membership reads an additional column after the row's `width`, one per set: 0
    /// for members, otherwise 1.
    fn of(forest: &Forest) -> Self {
        let full: &FullTables = &forest.full;
        let stride = forest.leaves.stride;
        let mut tables = Self::default();
        let mut depths = vec![0usize; full.nodes.len()];
        for (at, node) in full.nodes.iter().enumerate() {
            let (feature, threshold, missing, left) = match (node.is_leaf(), node.set()) {
                (true, _) => (0, f64::INFINITY, true, at as u32),
                (false, Some(set)) => (forest.width + set, 0.5, node.missing_left(), node.left),
                (false, None) => {
                    let threshold = match full.precision {
                        Precision::Single => f64::from(<f32 as Lane>::floor(node.threshold)),
                        Precision::Double => node.threshold,
                    };
                    (node.feature() as usize, threshold, node.missing_left(), node.left)
                }
            };
            if node.is_leaf() {
                tables.values.extend_from_slice(forest.leaves.of(node.left));
            } else {
                tables.values.extend(std::iter::repeat_n(0.0, stride));
                // children come after their parents
                let below = depths[at] + 1;
                depths[left as usize..=left as usize + 1].fill(below);
                tables.depth = tables.depth.max(below);
            }
            tables.feature.push(feature as i64);
            tables.threshold.push(threshold);
            tables.missing_left.push(f64::from(u8::from(missing)));
            tables.left.push(i64::from(left));
        }
        tables
    }
}

/// The device and the types that a backend computes with.
struct BackendTypes<B: Backend> {
    device: Device<B>,
    /// The type of comparisons.
    compare: DType,
    /// The type of sums.
    sum: DType,
    int: DType,
    bool: burn::backend::BoolDType,
}

impl<B: Backend> BackendTypes<B> {
    fn floats(&self, values: Vec<f64>, shape: &[usize], dtype: DType) -> FloatTensor<B> {
        let data = match dtype {
            DType::F64 => TensorData::new(values, shape.to_vec()),
            _ => TensorData::new(values.iter().map(|v| *v as f32).collect::<Vec<_>>(), shape.to_vec())
                .convert_dtype(dtype),
        };
        B::float_from_data(data, &self.device)
    }

    fn ints(&self, values: Vec<i64>) -> IntTensor<B> {
        let shape = [values.len()];
        B::int_from_data(TensorData::new(values, shape).convert_dtype(self.int), &self.device)
    }

    /// Appends one column per set to the rows, see [`Tables::of`]. Missing values stay missing.
    fn with_sets(&self, rows: FloatTensor<B>, forest: &Forest) -> FloatTensor<B> {
        let n = rows.shape()[0];
        let splits = forest.full.nodes.iter().filter_map(|node| Some((node.set()?, node.feature())));
        let mut features = vec![0i64; forest.full.sets.len()];
        splits.for_each(|(set, feature)| features[set] = i64::from(feature));
        let mut columns = vec![rows.clone()];
        for (set, feature) in forest.full.sets.iter().zip(features) {
            let value = B::float_select(rows.clone(), 1, self.ints(vec![feature]));
            let missing = B::float_is_nan(value.clone(), self.bool);
            let members = set.members();
            let column = if members.is_empty() {
                self.floats(vec![1.0; n], &[n, 1], self.compare)
            } else {
                let (shape, count) = (Shape::new([n, members.len()]), members.len());
                let members = self.floats(members, &[1, count], self.compare);
                let same =
                    B::float_equal(B::float_expand(value, shape.clone()), B::float_expand(members, shape), self.bool);
                let other = B::bool_not(B::bool_any_dim(same, 1));
                B::bool_into_float(other, self.compare.into())
            };
            columns.push(B::float_mask_fill(column, missing, f64::NAN.into()));
        }
        B::float_cat(columns, 1)
    }
}

/// Runs `forest` over rows `[n, width]` and returns `[n, outputs]` in the type of the rows. Comparisons of f32 rows
/// with f64 thresholds are exact in f32; comparisons in f64 are as exact as the type of the rows.
pub(super) fn run<B: Backend>(rows: FloatTensor<B>, forest: &Forest) -> FloatTensor<B> {
    let device = rows.device();
    let settings = get_or_init_device_settings::<B>(&device);
    let compare = if forest.full.precision == Precision::Single { DType::F32 } else { rows.dtype() };
    let types = BackendTypes::<B> {
        device,
        compare,
        sum: rows.dtype(),
        int: settings.int_dtype.into(),
        bool: settings.bool_dtype,
    };
    let (n, trees) = (rows.shape()[0], forest.full.roots.len());
    let mut rows = B::float_cast(rows, compare.into());
    if !forest.full.sets.is_empty() {
        rows = types.with_sets(rows, forest);
    }
    let tables = Tables::of(forest);
    let values = types.floats(tables.values, &[tables.left.len(), forest.leaves.stride], types.sum);
    let threshold = types.floats(tables.threshold, &[tables.left.len()], compare);
    let missing_left = types.floats(tables.missing_left, &[tables.left.len()], compare);
    let (feature, left) = (types.ints(tables.feature), types.ints(tables.left));

    let (flat, grid) = (Shape::new([n * trees]), Shape::new([n, trees]));
    let roots = types.ints(forest.full.roots.iter().map(|r| i64::from(*r)).collect());
    let roots = B::int_expand(B::int_reshape(roots, Shape::new([1, trees])), grid.clone());
    let mut at = B::int_reshape(roots, flat.clone());
    for _ in 0..tables.depth {
        let features = B::int_reshape(B::int_select(feature.clone(), 0, at.clone()), grid.clone());
        let x = B::float_reshape(B::float_gather(1, rows.clone(), features), flat.clone());
        let missing = B::float_is_nan(x.clone(), types.bool);
        let below: BoolTensor<B> =
            B::float_lower_equal(x, B::float_select(threshold.clone(), 0, at.clone()), types.bool);
        let rule = B::float_select(missing_left.clone(), 0, at.clone());
        let sent_left = B::float_equal_elem(rule, 1.0.into(), types.bool);
        let goes_left = B::bool_or(below, B::bool_and(missing, sent_left));
        let left = B::int_select(left.clone(), 0, at);
        // the right child comes after the left one
        at = B::int_mask_where(B::int_add_scalar(left.clone(), 1.into()), goes_left, left);
    }
    aggregate::<B>(B::float_select(values, 0, at), n, forest, &types)
}

/// Aggregates the values of the leaves, `[n * trees, stride]`, to `[n, outputs]`.
fn aggregate<B: Backend>(leaves: FloatTensor<B>, n: usize, forest: &Forest, types: &BackendTypes<B>) -> FloatTensor<B> {
    let outputs = forest.outputs;
    let trees = forest.full.roots.len();
    let groups = if forest.spread { trees / outputs } else { trees };
    let leaves = B::float_reshape(leaves, Shape::new([n, groups, outputs]));
    let whole = Shape::new([n, outputs]);
    let flat = |x| B::float_reshape(x, whole.clone());
    match &forest.aggregate {
        Aggregate::Mean(count) => B::float_div_scalar(flat(B::float_sum_dim(leaves, 1)), (*count).into()),
        Aggregate::Sum(start) => {
            let start = B::float_expand(types.floats(start.clone(), &[1, outputs], types.sum), whole.clone());
            B::float_add(flat(B::float_sum_dim(leaves, 1)), start)
        }
        Aggregate::Min | Aggregate::Max => {
            let absent = forest.aggregate.absent();
            let picked = match forest.aggregate {
                Aggregate::Min => B::float_min_dim(leaves, 1),
                _ => B::float_max_dim(leaves, 1),
            };
            let picked = flat(picked);
            let nothing = B::float_equal_elem(picked.clone(), absent.into(), types.bool);
            B::float_mask_fill(picked, nothing, 0.0.into())
        }
    }
}

#[cfg(test)]
mod tests;

//! The forest as a tensor program: what a burn backend without a kernel for it runs.
//!
//! Node tables lie flat over all trees; every walk takes one step a round, for as many rounds as the deepest tree has
//! levels, and leaves point at themselves (tree traversal of Hummingbird: Nakandala et al., "A Tensor Compiler for
//! Unified Machine Learning Prediction Serving", OSDI 2020). Sums are in the rows' float. On a CPU it is an order of
//! magnitude slower than the kernel, and the tables are uploaded at every call.

use burn::backend::tensor::{BoolTensor, Device, FloatTensor, IntTensor};
use burn::backend::{Backend, DType, TensorMetadata, get_or_init_device_settings};
use burn::tensor::{Shape, TensorData};

use super::kernel::Lane;
use super::walk::FullTables;
use super::{Combine, Forest, Precision};

/// Node tables, one entry per node of all trees; a leaf is a split that leads back to itself whatever the row.
#[derive(Debug, Default)]
struct Tables {
    feature: Vec<i64>,
    threshold: Vec<f64>,
    missing_left: Vec<f64>,
    left: Vec<i64>,
    /// `stride` per node.
    values: Vec<f64>,
    depth: usize,
}

impl Tables {
    /// Splits by membership read a column of their own, one per set, behind the row's `width`: 0 for members, else 1.
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
                // children stand behind their parents
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

/// Where and in which types a backend computes.
struct Place<B: Backend> {
    device: Device<B>,
    /// Of comparisons.
    compare: DType,
    /// Of sums.
    sum: DType,
    int: DType,
    bool: burn::backend::BoolDType,
}

impl<B: Backend> Place<B> {
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

    /// The rows with one more column per set, see [`Tables::of`]; missing values stay missing.
    fn with_sets(&self, rows: FloatTensor<B>, forest: &Forest) -> FloatTensor<B> {
        let n = rows.shape()[0];
        let splits = forest.full.nodes.iter().filter_map(|node| Some((node.set()?, node.feature())));
        let mut features = vec![0i64; forest.full.sets.len()];
        splits.for_each(|(set, feature)| features[set] = i64::from(feature));
        let mut columns = vec![rows.clone()];
        for (set, feature) in forest.full.sets.iter().zip(features) {
            let value = B::float_select(rows.clone(), 1, self.ints(vec![feature]));
            let missing = B::float_is_nan(value.clone(), self.bool);
            let column = if set.is_empty() {
                self.floats(vec![1.0; n], &[n, 1], self.compare)
            } else {
                let shape = Shape::new([n, set.len()]);
                let members = self.floats(set.clone(), &[1, set.len()], self.compare);
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

/// Runs `forest` over rows `[n, width]`; gives `[n, outputs]` in the rows' type. Where f32 rows are compared with f64
/// thresholds the comparison is exact in f32; f64 comparisons are as exact as the rows' type.
pub(super) fn run<B: Backend>(rows: FloatTensor<B>, forest: &Forest) -> FloatTensor<B> {
    let device = rows.device();
    let settings = get_or_init_device_settings::<B>(&device);
    let compare = if forest.full.precision == Precision::Single { DType::F32 } else { rows.dtype() };
    let place =
        Place::<B> { device, compare, sum: rows.dtype(), int: settings.int_dtype.into(), bool: settings.bool_dtype };
    let (n, trees) = (rows.shape()[0], forest.full.roots.len());
    let mut rows = B::float_cast(rows, compare.into());
    if !forest.full.sets.is_empty() {
        rows = place.with_sets(rows, forest);
    }
    let tables = Tables::of(forest);
    let values = place.floats(tables.values, &[tables.left.len(), forest.leaves.stride], place.sum);
    let threshold = place.floats(tables.threshold, &[tables.left.len()], compare);
    let missing_left = place.floats(tables.missing_left, &[tables.left.len()], compare);
    let (feature, left) = (place.ints(tables.feature), place.ints(tables.left));

    let (flat, grid) = (Shape::new([n * trees]), Shape::new([n, trees]));
    let roots = place.ints(forest.full.roots.iter().map(|r| i64::from(*r)).collect());
    let roots = B::int_expand(B::int_reshape(roots, Shape::new([1, trees])), grid.clone());
    let mut at = B::int_reshape(roots, flat.clone());
    for _ in 0..tables.depth {
        let features = B::int_reshape(B::int_select(feature.clone(), 0, at.clone()), grid.clone());
        let x = B::float_reshape(B::float_gather(1, rows.clone(), features), flat.clone());
        let missing = B::float_is_nan(x.clone(), place.bool);
        let below: BoolTensor<B> =
            B::float_lower_equal(x, B::float_select(threshold.clone(), 0, at.clone()), place.bool);
        let rule = B::float_select(missing_left.clone(), 0, at.clone());
        let sent_left = B::float_equal_elem(rule, 1.0.into(), place.bool);
        let goes_left = B::bool_or(below, B::bool_and(missing, sent_left));
        let left = B::int_select(left.clone(), 0, at);
        // the right child stands behind the left one
        at = B::int_mask_where(B::int_add_scalar(left.clone(), 1.into()), goes_left, left);
    }
    combine::<B>(B::float_select(values, 0, at), n, forest, &place)
}

/// From the leaves' values, `[n * trees, stride]`, to `[n, outputs]`.
fn combine<B: Backend>(leaves: FloatTensor<B>, n: usize, forest: &Forest, place: &Place<B>) -> FloatTensor<B> {
    let outputs = forest.outputs;
    let trees = forest.full.roots.len();
    let groups = if forest.spread { trees / outputs } else { trees };
    let leaves = B::float_reshape(leaves, Shape::new([n, groups, outputs]));
    let whole = Shape::new([n, outputs]);
    let flat = |x| B::float_reshape(x, whole.clone());
    match &forest.combine {
        Combine::Mean(count) => B::float_div_scalar(flat(B::float_sum_dim(leaves, 1)), (*count).into()),
        Combine::Sum(start) => {
            let start = B::float_expand(place.floats(start.clone(), &[1, outputs], place.sum), whole.clone());
            B::float_add(flat(B::float_sum_dim(leaves, 1)), start)
        }
        Combine::Least | Combine::Most => {
            let absent = forest.combine.absent();
            let picked = match forest.combine {
                Combine::Least => B::float_min_dim(leaves, 1),
                _ => B::float_max_dim(leaves, 1),
            };
            let picked = flat(picked);
            let nothing = B::float_equal_elem(picked.clone(), absent.into(), place.bool);
            B::float_mask_fill(picked, nothing, 0.0.into())
        }
    }
}

#[cfg(test)]
mod tests;

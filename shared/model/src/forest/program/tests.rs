//! The tensor program answers as the kernels do.

use std::collections::HashMap;

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{Device, Tensor, TensorData};

use super::super::build::samples::random_forest;
use super::super::{Aggregate, Forest, ForestBuilder, Precision, RawTree, tree_ensemble};
use super::*;

/// The default body on flex, as a backend without a kernel would run it.
fn program(forest: &Forest, rows: &[f64]) -> Vec<f64> {
    let n = rows.len() / forest.width();
    let data = TensorData::new(rows.to_vec(), Shape::new([n, forest.width()]));
    let out: FloatTensor<Flex> = run::<Flex>(FloatTensor::<Flex>::from_data(data), forest);
    assert_eq!(out.shape(), Shape::new([n, forest.outputs()]));
    out.storage::<f64>().to_vec()
}

fn kernel(forest: &Forest, rows: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; rows.len() / forest.width() * forest.outputs()];
    forest.predict(rows, &mut out);
    out
}

fn agree(forest: &Forest, rows: &[f64]) {
    for (i, (got, want)) in program(forest, rows).iter().zip(kernel(forest, rows)).enumerate() {
        assert!((got - want).abs() <= 1e-12 * want.abs().max(1.0), "value {i}: {got} {want}");
    }
}

fn noise(values: usize) -> Vec<f64> {
    let mut seed = 7u64;
    let mut next = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as f64 / 2f64.powi(31)
    };
    (0..values).map(|i| if i % 31 == 0 { f64::NAN } else { next() }).collect()
}

#[test]
fn random_forests_with_and_without_missing_values() {
    for precision in [Precision::Single, Precision::Double] {
        for (width, missing) in [(1, false), (10, true), (40, true), (300, false)] {
            agree(&random_forest(width, 17, missing, precision), &noise(width * 23));
        }
    }
}

/// Two stumps, one by membership, over rows of two values.
fn small(aggregate: Aggregate, stride: usize, outputs: usize) -> Forest {
    let mut b = ForestBuilder::new(2, stride, Precision::Single);
    let members = HashMap::from([(0, vec![3.0, 1.0, -0.0])]);
    for (sets, missing_left) in [(Some(&members), true), (None, false), (Some(&members), false), (None, true)] {
        let values: Vec<f64> = (0..3 * stride).map(|v| v as f64 - 1.5).collect();
        let tree = RawTree {
            left: &[1, -1, -1],
            right: &[2, -1, -1],
            feature: &[i64::from(sets.is_some()), -2, -2],
            threshold: &[0.5, -2.0, -2.0],
            missing_left: &[missing_left, false, false],
            rules: &[],
            sets,
            values: &values,
        };
        b.push(&tree, 1.0).unwrap();
    }
    b.finish(outputs, aggregate).unwrap()
}

#[test]
fn sets_strides_turns_and_extremes() {
    let rows = [0.5, 1.0, 0.6, 2.0, f64::NAN, 3.0, 9.0, 0.0, f64::NAN, f64::NAN, 0.0, -0.0];
    for (aggregate, stride, outputs) in [
        (Aggregate::Mean(4.0), 1, 1),
        (Aggregate::Mean(1.0), 3, 3),
        (Aggregate::Sum(vec![0.5, -2.0]), 1, 2),
        (Aggregate::Min, 1, 1),
        (Aggregate::Max, 2, 2),
    ] {
        agree(&small(aggregate, stride, outputs), &rows);
    }
    let stump = small(Aggregate::Mean(1.0), 1, 1);
    // members go left (-0.5) in both trees by membership
    assert_eq!(kernel(&stump, &[0.6, 0.0]), [-0.5 + 0.5 - 0.5 + 0.5]);
    assert_eq!(kernel(&stump, &[0.6, 0.25]), [4.0 * 0.5]);
}

#[test]
fn both_bodies_answer_through_the_operation() {
    let forest = std::sync::Arc::new(random_forest(5, 9, true, Precision::Single));
    let rows = noise(35);
    let data = TensorData::new(rows.clone(), [7, 5]);
    let tensor = Tensor::<2>::from_data(data, (&Device::flex(), burn::tensor::DType::F64));
    let got: Vec<f64> = tree_ensemble(tensor, forest.clone()).into_data().try_into_vec().unwrap();
    assert_eq!(got, kernel(&forest, &rows));
}

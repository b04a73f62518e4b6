//! Forests for tests.

use super::*;

/// A forest of pseudo-random shape, the same for the same arguments.
pub(in crate::forest) fn random_forest(width: usize, trees: usize, missing: bool, precision: Precision) -> Forest {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = move |n: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % n
    };
    let mut b = ForestBuilder::new(width, 1, precision);
    for _ in 0..trees {
        let (mut left, mut right, mut feature, mut threshold, mut ml, mut values) =
            (vec![-1i64], vec![-1i64], vec![0i64], vec![0.0f64], vec![false], vec![0.0f64]);
        for _ in 0..40 {
            let at = next(left.len() as u64) as usize;
            if left[at] < 0 {
                (left[at], right[at]) = (left.len() as i64, left.len() as i64 + 1);
                feature[at] = next(width as u64) as i64;
                threshold[at] = next(1000) as f64 / 1000.0 + 1e-12;
                ml[at] = missing && next(2) == 0;
                for _ in 0..2 {
                    left.push(-1);
                    right.push(-1);
                    feature.push(-2);
                    threshold.push(-2.0);
                    ml.push(false);
                    values.push(next(1_000_000) as f64 / 7.0);
                }
            }
        }
        let tree = RawTree {
            left: &left,
            right: &right,
            feature: &feature,
            threshold: &threshold,
            missing_left: &ml,
            rules: &[],
            sets: None,
            values: &values,
        };
        b.push(&tree, 1.0).unwrap();
    }
    b.finish(1, Aggregate::Mean(trees as f64)).unwrap()
}

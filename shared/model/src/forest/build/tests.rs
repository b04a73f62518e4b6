//! Building the compact form of a forest refuses what its kernel could not walk safely.

use super::samples::random_forest;
use super::*;

fn stump(left: i64, right: i64, feature: i64, threshold: f64) -> Result<Forest, String> {
    let tree = RawTree {
        left: &[left, -1, -1],
        right: &[right, -1, -1],
        feature: &[feature, -2, -2],
        threshold: &[threshold, -2.0, -2.0],
        missing_left: &[true, false, false],
        rules: &[],
        sets: None,
        values: &[0.0, 10.0, 20.0],
    };
    let mut b = ForestBuilder::new(2, 1, Precision::Single);
    b.push(&tree, 1.0)?;
    b.finish(1, Aggregate::Mean(1.0))
}

fn one(f: &Forest, row: [f64; 2]) -> f64 {
    let mut out = [0.0];
    f.predict(&row, &mut out);
    out[0]
}

#[test]
fn a_stump_splits_and_routes_missing_values() {
    let f = stump(1, 2, 1, 0.5).unwrap();
    assert_eq!(one(&f, [9.0, 0.5]), 10.0);
    assert_eq!(one(&f, [9.0, 0.6]), 20.0);
    assert_eq!(one(&f, [9.0, f64::NAN]), 10.0, "missing goes left here");
    assert_eq!(one(&f, [f64::NAN, 0.6]), 20.0, "a missing value that no split reads changes nothing");
    let swapped = stump(2, 1, 1, 0.5).unwrap();
    assert_eq!(one(&swapped, [9.0, 0.5]), 20.0);
}

#[test]
fn hostile_trees_are_refused() {
    for (left, right, feature, threshold, what) in [
        (0, 2, 1, 0.5, "twice"),
        (1, 1, 1, 0.5, "twice"),
        (1, 3, 1, 0.5, "out of range"),
        (1, -1, 1, 0.5, "out of range"),
        (1, i64::MAX, 1, 0.5, "out of range"),
        (1, 2, 2, 0.5, "feature"),
        (1, 2, -1, 0.5, "feature"),
        (1, 2, 1, f64::NAN, "NaN"),
    ] {
        let e = stump(left, right, feature, threshold).unwrap_err();
        assert!(e.contains(what), "{e}");
    }
    let leaf = |values: &[f64]| {
        let tree = RawTree {
            left: &[-1],
            right: &[-1],
            feature: &[0],
            threshold: &[0.0],
            missing_left: &[],
            rules: &[],
            sets: None,
            values,
        };
        let mut b = ForestBuilder::new(1, 1, Precision::Single);
        b.push(&tree, 1.0)
    };
    assert!(leaf(&[f64::INFINITY]).unwrap_err().contains("leaf value"));
    assert!(leaf(&[]).unwrap_err().contains("length"));
    assert!(
        ForestBuilder::new(1, 1, Precision::Single)
            .finish::<f64>(1, Aggregate::Mean(1.0))
            .unwrap_err()
            .contains("no trees")
    );
}

#[test]
fn both_kernels_agree_to_the_bit_at_any_width_and_batch() {
    let widths = [1, 10, 15, 16, 31, 100, 255, 300].map(|w| [(w, Precision::Single), (w, Precision::Double)]).concat();
    let cases = widths.into_iter().map(|(width, precision)| (width, precision, 33));
    for (width, precision, trees) in cases.chain([(11, Precision::Double, 500), (16, Precision::Double, 500)]) {
        let f = random_forest(width, trees, width % 2 == 1, precision);
        assert_eq!(matches!(f.fast, Fast::Ranked(_)), trees == 500);
        assert_eq!(matches!(f.fast, Fast::Unfit), width > 255);
        let mut seed = 1u64;
        let rows: Vec<f64> = (0..width * 57)
            .map(|i| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if i % 97 == 0 { f64::NAN } else { (seed >> 33) as f64 / 2f64.powi(31) }
            })
            .collect();
        let mut slow = vec![0.0; 57];
        let sums = super::super::Sums { leaves: &f.leaves, outputs: 1, spread: false };
        f.full.sum(&rows, width, &sums, &mut slow);
        slow.iter_mut().for_each(|v| *v /= trees as f64);
        for batch in [1, 3, 8, 47, 48, 57] {
            let mut got = vec![0.0; 57];
            for (rows, out) in rows.chunks(batch * width).zip(got.chunks_mut(batch)) {
                f.predict(rows, out);
            }
            assert_eq!(
                got.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
                slow.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
                "width {width} {precision:?} batch {batch}"
            );
        }
    }
}

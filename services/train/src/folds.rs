//! Which rows are held out together.

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

use crate::target_values::TargetValues;

/// The fold of every row, shuffled by `seed`; classes are dealt out evenly (stratified k-fold).
pub(crate) fn assign(target: &TargetValues, rows: usize, folds: usize, seed: u64) -> Vec<usize> {
    let mut rng = StdRng::seed_from_u64(seed);
    let groups: Vec<Vec<usize>> = match target {
        TargetValues::Numbers(_) => vec![(0..rows).collect()],
        TargetValues::Classes { labels, of } => {
            (0..labels.len()).map(|class| (0..rows).filter(|r| of[*r] == class).collect()).collect()
        }
    };
    let mut fold = vec![0; rows];
    let mut next = 0;
    for mut group in groups {
        group.shuffle(&mut rng);
        for row in group {
            fold[row] = next % folds;
            next += 1;
        }
    }
    fold
}

/// Rows outside and inside `fold`, each in order.
pub(crate) fn split(assigned: &[usize], fold: usize) -> (Vec<usize>, Vec<usize>) {
    (0..assigned.len()).partition(|row| assigned[*row] != fold)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_held_out_once_and_classes_are_spread() {
        let of: Vec<usize> = (0..53).map(|i| usize::from(i < 10)).collect();
        let target = TargetValues::Classes { labels: vec!["a".into(), "b".into()], of: of.clone() };
        let folds = assign(&target, 53, 5, 7);
        assert_eq!(folds, assign(&target, 53, 5, 7));
        assert_ne!(folds, assign(&target, 53, 5, 8));
        let mut held = 0;
        for fold in 0..5 {
            let (train, test) = split(&folds, fold);
            assert_eq!(train.len() + test.len(), 53);
            assert_eq!(test.iter().filter(|r| of[**r] == 1).count(), 2);
            held += test.len();
        }
        assert_eq!(held, 53);
        let numbers = TargetValues::Numbers(vec![0.0; 7]);
        assert!((0..3).all(|f| split(&assign(&numbers, 7, 3, 0), f).1.len() >= 2));
    }
}

//! The nearest rows that were met so far.

/// A binary heap of a fixed number of rows, the farthest first. It places rows as the heap of scikit-learn does, and so
/// drops the same ones of equally near rows.
#[derive(Debug)]
pub(crate) struct Nearest {
    /// The rank and index of each row; an infinite rank where none was met yet.
    rows: Vec<(f64, usize)>,
}

impl Nearest {
    /// Room for `k` rows.
    pub(crate) fn new(k: usize) -> Self {
        Self { rows: vec![(f64::INFINITY, 0); k] }
    }

    /// The rank that a row must be below to be taken.
    pub(crate) fn farthest(&self) -> f64 {
        self.rows.first().map_or(f64::NEG_INFINITY, |(rank, _)| *rank)
    }

    /// Takes a row in place of the farthest one, if it is nearer.
    pub(crate) fn push(&mut self, rank: f64, row: usize) {
        if rank < self.farthest() {
            self.replace_first(rank, row);
        }
    }

    /// Moves the place of the first row down until a row of `rank` fits there.
    fn replace_first(&mut self, rank: f64, row: usize) {
        let mut at = 0;
        loop {
            let left = 2 * at + 1;
            let right = left + 1;
            let Some((left_rank, _)) = self.rows.get(left) else { break };
            let farther = match self.rows.get(right) {
                Some((right_rank, _)) if right_rank > left_rank => right,
                _ => left,
            };
            if self.rows[farther].0 <= rank {
                break;
            }
            self.rows[at] = self.rows[farther];
            at = farther;
        }
        self.rows[at] = (rank, row);
    }

    /// The rows, nearest first.
    pub(crate) fn into_sorted(mut self) -> Vec<(f64, usize)> {
        self.rows.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_are_kept_and_of_equal_ones_the_first_met() {
        let mut nearest = Nearest::new(3);
        for (row, rank) in [5.0, 2.0, 9.0, 2.0, 2.0, f64::NAN, f64::INFINITY, 7.0].into_iter().enumerate() {
            nearest.push(rank, row);
        }
        let mut rows: Vec<usize> = nearest.into_sorted().into_iter().map(|(_, row)| row).collect();
        rows.sort_unstable();
        assert_eq!(rows, [1, 3, 4]);
        let mut none = Nearest::new(0);
        none.push(1.0, 0);
        assert!(none.into_sorted().is_empty());
    }
}

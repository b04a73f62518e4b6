//! Stored rows, and which of them are near.

mod nearest;
mod tree;

pub(crate) use nearest::Nearest;
pub(crate) use tree::{Node, Regions, Tree};

use super::metric::Metric;

/// Stored rows and how they are searched.
#[derive(Debug)]
pub(crate) struct Search {
    pub width: usize,
    /// Row-major.
    pub rows: Vec<f64>,
    pub metric: Metric,
    /// Divides the rows; without one, each of them is looked at.
    pub tree: Option<Tree>,
}

impl Search {
    /// Rows that are looked at one after the other.
    pub(crate) fn scan(width: usize, rows: Vec<f64>, metric: Metric) -> Self {
        Self { width, rows, metric, tree: None }
    }

    /// The distance and index of the `k` nearest rows, nearest first. Of rows that are equally near, those are taken
    /// that scikit-learn takes: rows are met in the order of its tree, or in their own, and a row that is not nearer than
    /// the farthest of `k` others takes no place.
    pub(crate) fn nearest(&self, row: &[f64], k: usize) -> Vec<(f64, usize)> {
        let mut nearest = Nearest::new(k.min(self.len()));
        match &self.tree {
            Some(tree) => tree.nearest(self, row, &mut nearest),
            None => (0..self.len()).for_each(|i| nearest.push(self.rank(row, i), i)),
        }
        let mut found = nearest.into_sorted();
        found.iter_mut().for_each(|(rank, _)| *rank = self.metric.distance(*rank));
        found
    }

    /// The distance and index of the rows within `radius`, in the order of the tree or in their own.
    pub(crate) fn within(&self, row: &[f64], radius: f64) -> Vec<(f64, usize)> {
        let mut found = Vec::new();
        let mut meet = |i: usize| found.push((self.metric.distance(self.rank(row, i)), i));
        match &self.tree {
            Some(tree) => tree.within(self, row, radius, &mut meet),
            None => {
                let rank = self.metric.rank_of(radius);
                (0..self.len()).filter(|i| self.rank(row, *i) <= rank).for_each(meet);
            }
        }
        found
    }

    /// The rank of a stored row. As far away as possible where there is none.
    pub(super) fn rank(&self, row: &[f64], stored: usize) -> f64 {
        let at = stored * self.width;
        self.rows.get(at..at + self.width).map_or(f64::INFINITY, |stored| self.metric.rank(row, stored))
    }

    /// The number of stored rows.
    pub(crate) fn len(&self) -> usize {
        self.rows.len() / self.width.max(1)
    }
}

//! Classifiers that spread labels among similar rows: LabelPropagation, LabelSpreading.

use forebay_artefact::Frame;

use super::search::Search;
use super::{Learner, each_row};
use crate::ModelError;

/// How much a stored row counts.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Weight {
    /// `exp(-gamma d^2)`.
    Rbf { gamma: f64 },
    /// One for the nearest, zero for the others.
    Nearest(usize),
}

/// The raw outputs are probabilities: the weighted distributions of the stored rows.
#[derive(Debug)]
pub(crate) struct Propagation {
    /// By Euclidean distance.
    pub search: Search,
    pub weight: Weight,
    /// Row-major, a number for each class.
    pub distributions: Vec<f64>,
    pub classes: usize,
}

impl Learner for Propagation {
    fn width(&self) -> usize {
        self.search.width
    }

    fn outputs(&self) -> usize {
        self.classes
    }

    fn name(&self) -> String {
        format!("Propagation({:?} of {} rows)", self.weight, self.search.len())
    }

    fn run(&self, frame: &Frame) -> Result<Vec<f64>, ModelError> {
        each_row(frame, |row, out| {
            let mut sums = vec![0.0; self.classes];
            let mut add = |weight: f64, stored: usize| {
                let own = &self.distributions[stored * self.classes..][..self.classes];
                sums.iter_mut().zip(own).for_each(|(s, d)| *s += weight * d);
            };
            match self.weight {
                Weight::Nearest(k) => self.search.nearest(row, k).iter().for_each(|(_, stored)| add(1.0, *stored)),
                Weight::Rbf { gamma } => {
                    for (i, stored) in self.search.rows.chunks_exact(self.search.width).enumerate() {
                        add((-gamma * self.search.metric.rank(row, stored)).exp(), i);
                    }
                }
            }
            let total: f64 = sums.iter().sum();
            out.extend(sums.iter().map(|s| s / total));
        })
    }

    // far from all stored rows every weight is zero
    fn is_partial(&self) -> bool {
        true
    }
}

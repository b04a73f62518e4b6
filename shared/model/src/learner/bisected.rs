//! A tree of clusters, each divided into the two whose centre is nearer: BisectingKMeans.

use forebay_artefact::Frame;

use super::{Learner, each_row};
use crate::ModelError;

/// A cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub centre: Vec<f64>,
    pub then: Then,
}

/// What becomes of the rows of a cluster.
#[derive(Debug)]
pub(crate) enum Then {
    /// They go to one of these clusters, both of which come later in the list.
    Divided([usize; 2]),
    /// They have this label.
    Label(usize),
}

/// Clusters from the one of all rows on.
#[derive(Debug)]
pub(crate) struct Bisected {
    pub width: usize,
    pub clusters: Vec<Cluster>,
}

impl Bisected {
    fn label(&self, row: &[f64]) -> usize {
        let distance =
            |at: usize| -> f64 { self.clusters[at].centre.iter().zip(row).map(|(c, x)| (x - c) * (x - c)).sum() };
        let mut at = 0;
        loop {
            match self.clusters[at].then {
                Then::Divided([left, right]) => at = if distance(right) < distance(left) { right } else { left },
                Then::Label(label) => return label,
            }
        }
    }
}

impl Learner for Bisected {
    fn width(&self) -> usize {
        self.width
    }

    fn outputs(&self) -> usize {
        1
    }

    fn name(&self) -> String {
        format!("Bisected({} clusters)", self.clusters.len())
    }

    fn run(&self, frame: &Frame) -> Result<Vec<f64>, ModelError> {
        each_row(frame, |row, out| out.push(self.label(row) as f64))
    }
}

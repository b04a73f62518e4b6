//! Outlier detectors. Their raw output is the index of the class: 0 for an outlier, 1 for an inlier.

use std::sync::Arc;

use forebay_artefact::Frame;

use super::search::Search;
use super::{Learner, each_row};
use crate::ModelError;
use crate::forest::Forest;
use crate::step::Kernel;

/// How normal a row is: the higher, the more.
#[derive(Debug)]
pub(crate) enum Normality {
    /// `-2 ^ (-depth / usual)` by the depth at which random trees isolate the row.
    Isolation { forest: Arc<Forest>, usual: f64 },
    /// Minus the local outlier factor.
    Local { search: Search, neighbours: usize, reach: Vec<f64>, densities: Vec<f64> },
    /// Minus the squared Mahalanobis distance; `precision` is row-major.
    Ellipse { mean: Vec<f64>, precision: Vec<f64> },
    /// The sum of similarities to support vectors.
    Machine { kernel: Kernel, width: usize, vectors: Vec<f64>, weights: Vec<f64> },
    /// `x weight`.
    Plane { weight: Vec<f64> },
}

/// A detector; a row whose normality is below `offset` is an outlier.
#[derive(Debug)]
pub(crate) struct Detector {
    pub normality: Normality,
    pub offset: f64,
    /// Whether a row exactly at the offset is an outlier.
    pub border_is_out: bool,
}

impl Detector {
    fn normality(&self, row: &[f64]) -> f64 {
        match &self.normality {
            Normality::Isolation { forest, usual } => {
                let mut depth = [0.0];
                forest.predict(row, &mut depth);
                // trees of single rows isolate nothing
                let share = if *usual == 0.0 { 1.0 } else { depth[0] / usual };
                -(-share).exp2()
            }
            Normality::Local { search, neighbours, reach, densities } => {
                let found = search.nearest(row, *neighbours);
                let n = found.len() as f64;
                let distance = found.iter().map(|(d, i)| d.max(reach[*i])).sum::<f64>() / n;
                let density = 1.0 / (distance + 1e-10);
                -(found.iter().map(|(_, i)| densities[*i] / density).sum::<f64>() / n)
            }
            Normality::Ellipse { mean, precision } => {
                let apart: Vec<f64> = row.iter().zip(mean).map(|(x, m)| x - m).collect();
                let lines = precision.chunks_exact(apart.len());
                -apart
                    .iter()
                    .zip(lines)
                    .map(|(a, line)| a * line.iter().zip(&apart).map(|(p, b)| p * b).sum::<f64>())
                    .sum::<f64>()
            }
            Normality::Machine { kernel, width, vectors, weights } => {
                vectors.chunks_exact(*width).zip(weights).map(|(v, w)| w * kernel.of(row, v)).sum()
            }
            Normality::Plane { weight } => row.iter().zip(weight).map(|(x, w)| x * w).sum(),
        }
    }
}

impl Learner for Detector {
    fn width(&self) -> usize {
        match &self.normality {
            Normality::Isolation { forest, .. } => forest.width(),
            Normality::Local { search, .. } => search.width,
            Normality::Ellipse { mean, .. } => mean.len(),
            Normality::Machine { width, .. } => *width,
            Normality::Plane { weight } => weight.len(),
        }
    }

    fn outputs(&self) -> usize {
        1
    }

    fn name(&self) -> String {
        let kind = match &self.normality {
            Normality::Isolation { forest, .. } => format!("isolation, {}", forest.name()),
            Normality::Local { search, .. } => format!("local density, {} rows", search.len()),
            Normality::Ellipse { .. } => "ellipse".to_owned(),
            Normality::Machine { kernel, .. } => format!("{kernel:?}"),
            Normality::Plane { .. } => "plane".to_owned(),
        };
        format!("Outliers({kind})")
    }

    fn run(&self, frame: &Frame) -> Result<Vec<f64>, ModelError> {
        each_row(frame, |row, out| {
            let score = self.normality(row) - self.offset;
            let inlier = if self.border_is_out { score > 0.0 } else { score >= 0.0 };
            out.push(f64::from(u8::from(inlier)));
        })
    }

    fn decision(&self, frame: &Frame) -> Option<Result<Vec<f64>, ModelError>> {
        Some(each_row(frame, |row, out| out.push(self.normality(row) - self.offset)))
    }

    fn score_samples(&self, frame: &Frame) -> Option<Result<Vec<f64>, ModelError>> {
        Some(each_row(frame, |row, out| out.push(self.normality(row))))
    }

    fn scores_samples(&self) -> bool {
        true
    }
}

//! Kernel density estimation: the logarithm of the sum of kernels around the training rows.

use std::f64::consts::PI;

use forebay_artefact::Frame;

use super::search::Search;
use super::{Learner, each_row};
use crate::ModelError;

/// How a kernel falls with the distance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bump {
    Gaussian,
    Tophat,
    Epanechnikov,
    Exponential,
    Linear,
    Cosine,
}

impl Bump {
    /// The logarithm at a distance in units of the bandwidth.
    fn logarithm(self, distance: f64) -> f64 {
        let inside = |value: f64| if distance < 1.0 { value } else { f64::NEG_INFINITY };
        match self {
            Self::Gaussian => -0.5 * distance * distance,
            Self::Exponential => -distance,
            Self::Tophat => inside(0.0),
            Self::Epanechnikov => inside((1.0 - distance * distance).ln()),
            Self::Linear => inside((1.0 - distance).ln()),
            Self::Cosine => inside((0.5 * PI * distance).cos().ln()),
        }
    }

    /// The logarithm of the integral over as many dimensions.
    fn norm(self, width: usize) -> f64 {
        let d = width as f64;
        // the surface of the unit sphere
        let surface = |n: usize| (2.0 * PI).ln() + volume(n as f64 - 1.0);
        match self {
            Self::Gaussian => 0.5 * d * (2.0 * PI).ln(),
            Self::Tophat => volume(d),
            Self::Epanechnikov => volume(d) + (2.0 / (d + 2.0)).ln(),
            Self::Exponential => surface(width - 1) + (1..width).map(|k| (k as f64).ln()).sum::<f64>(),
            Self::Linear => volume(d) - (d + 1.0).ln(),
            Self::Cosine => {
                let (mut sum, mut term) = (0.0, 2.0 / PI);
                for k in (1..=width).step_by(2) {
                    sum += term;
                    let k = k as f64;
                    term *= -(d - k) * (d - k - 1.0) * (2.0 / PI) * (2.0 / PI);
                }
                sum.ln() + surface(width - 1)
            }
        }
    }
}

/// The logarithm of the volume of the unit ball in `n` dimensions, `pi^(n/2) / gamma(n/2 + 1)`.
fn volume(n: f64) -> f64 {
    // the factors of gamma down to gamma(1) = 1 or gamma(1/2) = sqrt(pi)
    let (mut at, mut gamma) = (0.5 * n, 0.0);
    while at > 0.5 {
        gamma += at.ln();
        at -= 1.0;
    }
    if at == 0.5 {
        gamma += at.ln() + 0.5 * PI.ln();
    } else if at == -0.5 {
        gamma += 0.5 * PI.ln();
    }
    0.5 * n * PI.ln() - gamma
}

/// KernelDensity. Its only answer is that of `score_samples`.
#[derive(Debug)]
pub(crate) struct KernelDensity {
    pub search: Search,
    /// The logarithm of each training row's weight; empty if all are one.
    pub weights: Vec<f64>,
    /// The logarithm of the sum of the weights.
    pub total: f64,
    pub bump: Bump,
    pub bandwidth: f64,
}

impl Learner for KernelDensity {
    fn width(&self) -> usize {
        self.search.width
    }

    fn outputs(&self) -> usize {
        1
    }

    fn name(&self) -> String {
        format!("KernelDensity({:?}, {} rows)", self.bump, self.search.len())
    }

    /// A kernel that ends leaves most of the space without density.
    fn is_partial(&self) -> bool {
        !matches!(self.bump, Bump::Gaussian | Bump::Exponential)
    }

    fn run(&self, frame: &Frame) -> Result<Vec<f64>, ModelError> {
        let width = self.search.width;
        let norm = -self.bump.norm(width) - width as f64 * self.bandwidth.ln() - self.total;
        let mut terms = Vec::new();
        each_row(frame, |row, out| {
            terms.clear();
            let weights = self.weights.iter().copied().chain(std::iter::repeat(0.0));
            let term = |(stored, weight): (&[f64], f64)| {
                let metric = &self.search.metric;
                weight + self.bump.logarithm(metric.distance(metric.rank(row, stored)) / self.bandwidth)
            };
            terms.extend(self.search.rows.chunks_exact(width).zip(weights).map(term));
            let highest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = terms.iter().map(|t| (t - highest).exp()).sum();
            out.push(highest + sum.ln() + norm);
        })
    }

    fn score_samples(&self, frame: &Frame) -> Option<Result<Vec<f64>, ModelError>> {
        Some(self.run(frame))
    }

    fn scores_samples(&self) -> bool {
        true
    }
}

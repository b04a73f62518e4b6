//! Gaussian process regression: the weighted sum of the covariances with the training rows.

use forebay_artefact::Frame;

use super::{Learner, each_row};
use crate::ModelError;

/// The covariance of two rows. A length scale has one value, or one per column.
#[derive(Debug)]
pub(crate) enum Covariance {
    Constant(f64),
    /// Noise, which rows that are not the same do not share.
    White,
    Rbf(Vec<f64>),
    Matern {
        lengths: Vec<f64>,
        nu: Smoothness,
    },
    RationalQuadratic {
        length: f64,
        alpha: f64,
    },
    ExpSineSquared {
        length: f64,
        period: f64,
    },
    /// `sigma` squared is added to the scalar product.
    DotProduct(f64),
    Sum(Box<Covariance>, Box<Covariance>),
    Product(Box<Covariance>, Box<Covariance>),
    Power(Box<Covariance>, f64),
}

/// The smoothness of a Matern covariance that has a closed form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Smoothness {
    Half,
    ThreeHalves,
    FiveHalves,
}

/// The squared distance in units of the length scales.
fn square(a: &[f64], b: &[f64], lengths: &[f64]) -> f64 {
    let one = lengths.len() == 1;
    let scaled = |(i, (x, y)): (usize, (&f64, &f64))| {
        let length = if one { lengths[0] } else { lengths[i] };
        let apart = (x - y) / length;
        apart * apart
    };
    a.iter().zip(b).enumerate().map(scaled).sum()
}

impl Covariance {
    fn of(&self, a: &[f64], b: &[f64]) -> f64 {
        match self {
            Self::Constant(value) => *value,
            Self::White => 0.0,
            Self::Rbf(lengths) => (-0.5 * square(a, b, lengths)).exp(),
            Self::Matern { lengths, nu } => {
                let distance = square(a, b, lengths).sqrt();
                match nu {
                    Smoothness::Half => (-distance).exp(),
                    Smoothness::ThreeHalves => {
                        let k = distance * 3f64.sqrt();
                        (1.0 + k) * (-k).exp()
                    }
                    Smoothness::FiveHalves => {
                        let k = distance * 5f64.sqrt();
                        (1.0 + k + k * k / 3.0) * (-k).exp()
                    }
                }
            }
            Self::RationalQuadratic { length, alpha } => {
                (1.0 + square(a, b, &[1.0]) / (2.0 * alpha * length * length)).powf(-alpha)
            }
            Self::ExpSineSquared { length, period } => {
                let sine = (std::f64::consts::PI / period * square(a, b, &[1.0]).sqrt()).sin() / length;
                (-2.0 * sine * sine).exp()
            }
            Self::DotProduct(sigma) => a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>() + sigma * sigma,
            Self::Sum(left, right) => left.of(a, b) + right.of(a, b),
            Self::Product(left, right) => left.of(a, b) * right.of(a, b),
            Self::Power(base, exponent) => base.of(a, b).powf(*exponent),
        }
    }

    /// Whether its length scales are for rows of `width` values.
    pub(crate) fn fits(&self, width: usize) -> bool {
        match self {
            Self::Rbf(lengths) | Self::Matern { lengths, .. } => lengths.len() == 1 || lengths.len() == width,
            Self::Sum(left, right) | Self::Product(left, right) => left.fits(width) && right.fits(width),
            Self::Power(base, _) => base.fits(width),
            _ => true,
        }
    }
}

/// A regressor by a Gaussian process.
#[derive(Debug)]
pub(crate) struct GaussianProcess {
    pub covariance: Covariance,
    pub width: usize,
    /// The training rows, row-major.
    pub rows: Vec<f64>,
    /// Row-major `rows x outputs`.
    pub weights: Vec<f64>,
    /// The mean and the deviation of each target.
    pub targets: Vec<(f64, f64)>,
}

impl Learner for GaussianProcess {
    fn width(&self) -> usize {
        self.width
    }

    fn outputs(&self) -> usize {
        self.targets.len()
    }

    fn name(&self) -> String {
        format!("GaussianProcess({} rows)", self.rows.len() / self.width.max(1))
    }

    fn run(&self, frame: &Frame) -> Result<Vec<f64>, ModelError> {
        let outputs = self.targets.len();
        each_row(frame, |row, out| {
            let start = out.len();
            out.resize(start + outputs, 0.0);
            for (stored, weights) in self.rows.chunks_exact(self.width).zip(self.weights.chunks_exact(outputs)) {
                let covariance = self.covariance.of(row, stored);
                out[start..].iter_mut().zip(weights).for_each(|(o, w)| *o += covariance * w);
            }
            out[start..].iter_mut().zip(&self.targets).for_each(|(o, (mean, deviation))| *o = *o * deviation + mean);
        })
    }
}

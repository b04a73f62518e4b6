//! Gaussian processes: sums of the covariances with the training rows, and the probabilities that follow from them.

use forebay_artefact::Frame;
use forebay_artefact::special::erf;

use super::{Learner, each_row};
use crate::ModelError;

/// The covariance of two rows. A length scale has one value, or one per column.
#[derive(Debug)]
pub(crate) enum Covariance {
    Constant(f64),
    /// Noise of this variance, which rows that are not the same do not share.
    White(f64),
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
            Self::White(_) => 0.0,
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

    /// The covariance of a row with itself.
    fn own(&self, row: &[f64]) -> f64 {
        match self {
            Self::White(noise) => *noise,
            Self::Sum(left, right) => left.own(row) + right.own(row),
            Self::Product(left, right) => left.own(row) * right.own(row),
            Self::Power(base, exponent) => base.own(row).powf(*exponent),
            other => other.of(row, row),
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

/// A classifier of two classes by a Gaussian process, with Laplace's approximation. Its raw outputs are the index of the
/// class and the probabilities.
#[derive(Debug)]
pub(crate) struct LaplaceClassifier {
    pub covariance: Covariance,
    pub width: usize,
    /// The training rows, row-major.
    pub rows: Vec<f64>,
    /// How far the probability of each training row is from its class.
    pub residuals: Vec<f64>,
    /// The root of each training row's second derivative.
    pub roots: Vec<f64>,
    /// The lower triangle of `rows x rows`, whose diagonal has no zero; row-major, without what is above the diagonal.
    pub triangle: Vec<f64>,
}

impl LaplaceClassifier {
    /// The mean and the variance of the latent function.
    fn latent(&self, row: &[f64]) -> (f64, f64) {
        let covariances: Vec<f64> = self.rows.chunks_exact(self.width).map(|r| self.covariance.of(row, r)).collect();
        let mean = covariances.iter().zip(&self.residuals).map(|(k, r)| k * r).sum();
        let mut solved: Vec<f64> = Vec::with_capacity(covariances.len());
        let mut start = 0;
        for (i, (covariance, root)) in covariances.iter().zip(&self.roots).enumerate() {
            let line = &self.triangle[start..=start + i];
            let before: f64 = line.iter().zip(&solved).map(|(l, s)| l * s).sum();
            solved.push((root * covariance - before) / line[i]);
            start += i + 1;
        }
        (mean, self.covariance.own(row) - solved.iter().map(|s| s * s).sum::<f64>())
    }
}

/// The mean of the logistic function under a normal distribution, approximated by five error functions (Williams and
/// Barber, "Bayesian Classification with Gaussian Processes", appendix A).
fn mean_probability(mean: f64, variance: f64) -> f64 {
    const SCALES: [f64; 5] = [0.41, 0.4, 0.37, 0.44, 0.39];
    const WEIGHTS: [f64; 5] = [-1_854.821_415_1, 3_516.898_936_46, 221.293_467_12, 128.123_238_05, -2_010.494_226_54];
    let alpha = 1.0 / (2.0 * variance);
    let term = |(scale, weight): (&f64, &f64)| {
        let error = erf(scale * mean * (alpha / (alpha + scale * scale)).sqrt());
        let norm = 2.0 * (variance * 2.0 * std::f64::consts::PI).sqrt();
        weight * ((std::f64::consts::PI / alpha).sqrt() * error / norm)
    };
    SCALES.iter().zip(&WEIGHTS).map(term).sum::<f64>() + 0.5 * WEIGHTS.iter().sum::<f64>()
}

impl Learner for LaplaceClassifier {
    fn width(&self) -> usize {
        self.width
    }

    fn outputs(&self) -> usize {
        3
    }

    fn name(&self) -> String {
        format!("GaussianProcessClassifier({} rows)", self.residuals.len())
    }

    fn run(&self, frame: &Frame) -> Result<Vec<f64>, ModelError> {
        each_row(frame, |row, out| {
            let (mean, variance) = self.latent(row);
            let second = mean_probability(mean, variance);
            out.extend([f64::from(u8::from(mean > 0.0)), 1.0 - second, second]);
        })
    }
}

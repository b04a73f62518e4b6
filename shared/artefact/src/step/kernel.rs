//! The similarity of rows, and features made of it: Nystroem, KernelPCA, distances to cluster centres.

use super::{Missing, Projection, Transform};
use crate::RowRefusal;
use crate::matrix::Matrix;

/// The similarity of two rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kernel {
    Linear,
    Rbf {
        gamma: f64,
    },
    Laplacian {
        gamma: f64,
    },
    Polynomial {
        gamma: f64,
        coef0: f64,
        degree: f64,
    },
    Sigmoid {
        gamma: f64,
        coef0: f64,
    },
    Cosine,
    Chi2 {
        gamma: f64,
    },
    AdditiveChi2,
    /// The Euclidean distance, which is a similarity to none but to cluster centres.
    Distance,
}

impl Kernel {
    /// The similarity of `a` and `b`, which have the same length.
    pub fn of(self, a: &[f64], b: &[f64]) -> f64 {
        let pairs = || a.iter().zip(b);
        let dot = || pairs().map(|(x, y)| x * y).sum::<f64>();
        let square = || pairs().map(|(x, y)| (x - y) * (x - y)).sum::<f64>();
        let chi2 = || pairs().filter(|(x, y)| *x + *y != 0.0).map(|(x, y)| (x - y) * (x - y) / (x + y)).sum::<f64>();
        match self {
            Self::Linear => dot(),
            Self::Rbf { gamma } => (-gamma * square()).exp(),
            Self::Laplacian { gamma } => (-gamma * pairs().map(|(x, y)| (x - y).abs()).sum::<f64>()).exp(),
            Self::Polynomial { gamma, coef0, degree } => (gamma * dot() + coef0).powf(degree),
            Self::Sigmoid { gamma, coef0 } => (gamma * dot() + coef0).tanh(),
            Self::Cosine => {
                let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
                let length = |v: &[f64]| if norm(v) == 0.0 { 1.0 } else { norm(v) };
                dot() / length(a) / length(b)
            }
            Self::Chi2 { gamma } => (-gamma * chi2()).exp(),
            Self::AdditiveChi2 => -chi2(),
            Self::Distance => square().sqrt(),
        }
    }
}

/// The centring of a kernel: the means of the training similarities per row, and over all.
#[derive(Debug, Clone)]
pub struct Centring {
    pub rows: Vec<f64>,
    pub all: f64,
}

/// The similarities of a row to stored rows, centred and projected if asked for.
#[derive(Debug, Clone)]
pub struct Similarities {
    pub label: &'static str,
    pub kernel: Kernel,
    pub width: usize,
    /// Row-major.
    pub rows: Vec<f64>,
    pub centring: Option<Centring>,
    pub then: Option<Projection>,
}

impl Transform for Similarities {
    fn width(&self) -> usize {
        self.then.as_ref().map_or(self.rows.len() / self.width.max(1), |p| p.outputs)
    }

    fn name(&self) -> String {
        format!("{}({} rows)", self.label, self.rows.len() / self.width.max(1))
    }

    fn missing(&self) -> Missing {
        Missing::Refused
    }

    fn apply(&self, m: &mut Matrix) -> Result<(), RowRefusal> {
        let count = self.rows.len() / self.width.max(1);
        m.rebuild(count, |row, out| {
            let start = out.len();
            out.extend(self.rows.chunks_exact(self.width).map(|stored| self.kernel.of(row, stored)));
            if let Some(centring) = &self.centring {
                let mean = out[start..].iter().sum::<f64>() / centring.rows.len() as f64;
                for (k, of_row) in out[start..].iter_mut().zip(&centring.rows) {
                    *k = *k - of_row - mean + centring.all;
                }
            }
        });
        self.then.as_ref().map_or(Ok(()), |projection| projection.apply(m))
    }
}

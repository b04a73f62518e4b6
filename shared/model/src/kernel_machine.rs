//! Support vector regression, as libsvm computes it.

/// The similarity of two rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Kernel {
    Linear,
    Rbf { gamma: f64 },
    Polynomial { gamma: f64, coef0: f64, degree: i32 },
    Sigmoid { gamma: f64, coef0: f64 },
}

impl Kernel {
    fn of(self, a: &[f64], b: &[f64]) -> f64 {
        let dot = || a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        match self {
            Self::Linear => dot(),
            Self::Rbf { gamma } => {
                let distance: f64 = a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum();
                (-gamma * distance).exp()
            }
            Self::Polynomial { gamma, coef0, degree } => (gamma * dot() + coef0).powi(degree),
            Self::Sigmoid { gamma, coef0 } => (gamma * dot() + coef0).tanh(),
        }
    }
}

/// A support vector regressor: the weighted sum of the similarities to its support vectors.
#[derive(Debug)]
pub(crate) struct KernelMachine {
    kernel: Kernel,
    width: usize,
    vectors: Vec<f64>,
    weights: Vec<f64>,
    intercept: f64,
}

impl KernelMachine {
    /// `vectors` is row-major, with one row of `width` values for each weight.
    ///
    /// # Errors
    /// When the lengths do not match.
    pub(crate) fn new(
        kernel: Kernel,
        width: usize,
        vectors: Vec<f64>,
        weights: Vec<f64>,
        intercept: f64,
    ) -> Result<Self, String> {
        if width == 0 || weights.len().checked_mul(width) != Some(vectors.len()) {
            return Err(format!("{} values of support vectors for {} weights", vectors.len(), weights.len()));
        }
        Ok(Self { kernel, width, vectors, weights, intercept })
    }

    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn name(&self) -> String {
        format!("KernelMachine({:?}, {} vectors)", self.kernel, self.weights.len())
    }

    pub(crate) fn decide(&self, row: &[f64]) -> f64 {
        let pairs = self.vectors.chunks_exact(self.width).zip(&self.weights);
        pairs.map(|(v, w)| w * self.kernel.of(row, v)).sum::<f64>() + self.intercept
    }
}

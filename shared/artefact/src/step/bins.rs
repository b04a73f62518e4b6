//! Bins and quantiles: KBinsDiscretizer, QuantileTransformer.

use super::{Missing, Transform};
use crate::matrix::Matrix;
use crate::{Frame, RowRefusal};

/// The bin of each value.
#[derive(Debug, Clone)]
pub struct Bins {
    /// The inner edges of each column, ascending.
    pub edges: Vec<Vec<f64>>,
    /// One 0/1 column per bin instead of the bin's index: the number of bins of each column.
    pub one_hot: Option<Vec<usize>>,
    /// Whether it was fitted to give sparse rows.
    pub sparse: bool,
}

impl Transform for Bins {
    fn width(&self) -> usize {
        self.one_hot.as_ref().map_or(self.edges.len(), |bins| bins.iter().sum())
    }

    fn name(&self) -> String {
        format!("Bins({} columns)", self.width())
    }

    fn missing(&self) -> Missing {
        Missing::Refused
    }

    fn apply(&self, m: &mut Matrix) -> Result<(), RowRefusal> {
        m.rebuild(self.width(), |row, out| {
            for (column, (x, edges)) in row.iter().zip(&self.edges).enumerate() {
                let bin = edges.partition_point(|edge| edge <= x);
                match &self.one_hot {
                    None => out.push(bin as f64),
                    Some(bins) => out.extend((0..bins[column]).map(|b| f64::from(u8::from(b == bin)))),
                }
            }
        });
        Ok(())
    }

    fn sparse_after(&self, _sparse: bool) -> bool {
        self.sparse
    }
}

/// How near to a bound a value counts as the bound.
const BOUNDS_THRESHOLD: f64 = 1e-7;

/// The quantile of each value in the training data, as a uniform or normal variable.
#[derive(Debug, Clone)]
pub struct Quantiles {
    /// The quantiles of each column, ascending.
    pub columns: Vec<Vec<f64>>,
    /// The probability of each quantile.
    pub references: Vec<f64>,
    pub normal: bool,
}

impl Quantiles {
    /// The quantile of one value of a column; NaN stays NaN.
    pub fn of(&self, column: usize, x: f64) -> f64 {
        let quantiles = &self.columns[column];
        if x.is_nan() {
            return x;
        }
        let (low, high) = (quantiles[0], quantiles[quantiles.len() - 1]);
        let (is_low, is_high) =
            if self.normal { (x - BOUNDS_THRESHOLD < low, x + BOUNDS_THRESHOLD > high) } else { (x == low, x == high) };
        // the mean of both directions, which differ where quantiles repeat
        let y = if is_low {
            0.0
        } else if is_high {
            1.0
        } else {
            let n = quantiles.len();
            let forth = interpolate(x, n, |i| quantiles[i], |i| self.references[i]);
            let back = interpolate(-x, n, |i| -quantiles[n - 1 - i], |i| -self.references[n - 1 - i]);
            0.5 * (forth - back)
        };
        if !self.normal {
            return y;
        }
        let edge = BOUNDS_THRESHOLD - f64::EPSILON;
        crate::special::normal_quantile(y)
            .max(crate::special::normal_quantile(edge))
            .min(crate::special::normal_quantile(1.0 - edge))
    }

    /// The value whose quantile is `y`: the inverse.
    pub fn inverse(&self, column: usize, y: f64) -> f64 {
        let quantiles = &self.columns[column];
        if y.is_nan() {
            return y;
        }
        let n = quantiles.len();
        let p = if self.normal { crate::special::normal_cdf(y) } else { y };
        let (is_low, is_high) =
            if self.normal { (p - BOUNDS_THRESHOLD < 0.0, p + BOUNDS_THRESHOLD > 1.0) } else { (p == 0.0, p == 1.0) };
        if is_low {
            return quantiles[0];
        }
        if is_high {
            return quantiles[n - 1];
        }
        interpolate(p, n, |i| self.references[i], |i| quantiles[i])
    }
}

/// NumPy's `interp` of `x` between `n` points, whose abscissae ascend.
pub fn interpolate(x: f64, n: usize, at: impl Fn(usize) -> f64, value: impl Fn(usize) -> f64) -> f64 {
    let (mut low, mut high) = (0, n);
    // the number of points at or below x
    while low < high {
        let middle = (low + high) / 2;
        if at(middle) <= x { low = middle + 1 } else { high = middle }
    }
    if low == 0 {
        return value(0);
    }
    let j = low - 1;
    if j + 1 >= n || at(j) == x {
        return value(j);
    }
    let slope = (value(j + 1) - value(j)) / (at(j + 1) - at(j));
    slope * (x - at(j)) + value(j)
}

impl Transform for Quantiles {
    fn width(&self) -> usize {
        self.columns.len()
    }

    fn name(&self) -> String {
        format!("Quantiles({} of each column)", self.references.len())
    }

    fn missing(&self) -> Missing {
        Missing::Pass
    }

    fn source(&self, column: usize) -> Option<usize> {
        Some(column)
    }

    fn apply(&self, m: &mut Matrix) -> Result<(), RowRefusal> {
        for row in m.iter_mut() {
            row.iter_mut().enumerate().for_each(|(column, x)| *x = self.of(column, *x));
        }
        Ok(())
    }

    /// Zeros that sparse rows do not hold stay zeros.
    fn apply_frame(&self, frame: Frame) -> Result<Frame, RowRefusal> {
        if let Frame::Sparse(mut sparse) = frame {
            sparse.values.iter_mut().zip(&sparse.columns).for_each(|(v, c)| *v = self.of(*c as usize, *v));
            return Ok(Frame::Sparse(sparse));
        }
        let mut m = frame.into_numbers()?;
        self.apply(&mut m)?;
        Ok(Frame::Numbers(m))
    }

    fn sparse_after(&self, sparse: bool) -> bool {
        sparse
    }

    fn tells_absent(&self) -> bool {
        true
    }
}

//! B-spline features: SplineTransformer.

use super::{Missing, Transform};
use crate::matrix::Matrix;
use crate::{RowRefusal, Value};

/// What lies beyond the outer knots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extrapolation {
    Refuse,
    Constant,
    Linear,
    Continue,
    Periodic,
}

/// The splines of one column: all have the same knots.
#[derive(Debug, Clone)]
pub struct Curve {
    pub degree: usize,
    /// At least `2 * degree + 2`, ascending.
    pub knots: Vec<f64>,
    /// Row-major `(knots - degree - 1) x outputs`.
    pub coefficients: Vec<f64>,
    pub outputs: usize,
}

impl Curve {
    fn bases(&self) -> usize {
        self.knots.len() - self.degree - 1
    }

    fn ends(&self) -> (f64, f64) {
        (self.knots[self.degree], self.knots[self.bases()])
    }

    /// The values at `x` of the `degree + 1` basis functions of this degree that are not zero there, and the index of
    /// the first.
    fn basis(&self, x: f64, degree: usize) -> (usize, Vec<f64>) {
        let t = &self.knots;
        let last = self.bases() - 1;
        let at = t[..=last].partition_point(|knot| *knot <= x).saturating_sub(1).clamp(self.degree, last);
        let mut values = vec![1.0];
        for k in 1..=degree {
            let mut next = vec![0.0; k + 1];
            for (j, value) in values.iter().enumerate() {
                let (left, right) = (t[at + 1 + j - k], t[at + 1 + j]);
                if right != left {
                    let share = value / (right - left);
                    next[j] += share * (right - x);
                    next[j + 1] += share * (x - left);
                }
            }
            values = next;
        }
        (at - degree, values)
    }

    /// The value of every spline at `x`.
    fn at(&self, x: f64, out: &mut [f64]) {
        let (first, values) = self.basis(x, self.degree);
        self.combine(first, &values, out);
    }

    /// The slope of every spline at `x`.
    fn slope(&self, x: f64, out: &mut [f64]) {
        if self.degree == 0 {
            return out.fill(0.0);
        }
        let (first, lower) = self.basis(x, self.degree - 1);
        let k = self.degree;
        let mut values = vec![0.0; k + 1];
        for (j, value) in lower.iter().enumerate() {
            let (left, right) = (self.knots[first + j], self.knots[first + j + k]);
            if right != left {
                let share = k as f64 * value / (right - left);
                values[j] -= share;
                values[j + 1] += share;
            }
        }
        self.combine(first - 1, &values, out);
    }

    fn combine(&self, first: usize, values: &[f64], out: &mut [f64]) {
        out.fill(0.0);
        for (j, value) in values.iter().enumerate() {
            let row = &self.coefficients[(first + j) * self.outputs..][..self.outputs];
            out.iter_mut().zip(row).for_each(|(o, c)| *o += value * c);
        }
    }
}

/// The splines of every column.
#[derive(Debug, Clone)]
pub struct Splines {
    pub curves: Vec<Curve>,
    pub beyond: Extrapolation,
    /// Whether the last spline of each column is kept.
    pub bias: bool,
    /// Whether it was fitted to give sparse rows.
    pub sparse: bool,
}

impl Splines {
    fn column(&self, curve: &Curve, x: f64, out: &mut [f64]) -> Result<(), RowRefusal> {
        let (low, high) = curve.ends();
        let inside = low <= x && x <= high;
        match self.beyond {
            Extrapolation::Refuse if !inside => {
                return Err(RowRefusal::of_row(format!("has {x}, which lies beyond the knots")));
            }
            Extrapolation::Periodic => curve.at(low + (x - low).rem_euclid(high - low), out),
            Extrapolation::Continue | Extrapolation::Refuse => curve.at(x, out),
            _ if inside => curve.at(x, out),
            Extrapolation::Constant => curve.at(if x < low { low } else { high }, out),
            Extrapolation::Linear => {
                let edge = if x < low { low } else { high };
                let mut slope = vec![0.0; out.len()];
                curve.slope(edge, &mut slope);
                curve.at(edge, out);
                out.iter_mut().zip(&slope).for_each(|(o, s)| *o += (x - edge) * s);
            }
        }
        Ok(())
    }
}

impl Transform for Splines {
    fn width(&self) -> usize {
        self.curves.iter().map(|c| c.outputs - usize::from(!self.bias)).sum()
    }

    fn name(&self) -> String {
        format!("Splines({} columns)", self.width())
    }

    fn missing(&self) -> Missing {
        Missing::Refused
    }

    fn sample(&self) -> Vec<Option<Value>> {
        self.curves.iter().map(|curve| Some(curve.ends().0.into())).collect()
    }

    fn apply(&self, m: &mut Matrix) -> Result<(), RowRefusal> {
        let mut refused = Ok(());
        m.rebuild(self.width(), |row, out| {
            for (column, (x, curve)) in row.iter().zip(&self.curves).enumerate() {
                let start = out.len();
                out.resize(start + curve.outputs, 0.0);
                if let Err(e) = self.column(curve, *x, &mut out[start..]) {
                    refused = Err(RowRefusal { column: Some(column), ..e });
                }
                if !self.bias {
                    out.pop();
                }
            }
        });
        refused
    }

    fn sparse_after(&self, _sparse: bool) -> bool {
        self.sparse
    }

    fn stores_zeros(&self) -> bool {
        self.sparse
    }
}

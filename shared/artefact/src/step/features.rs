//! Maps of rows to features: samplers of kernels between histograms and of polynomials, and clusters of columns.

use super::{Missing, Projection, Transform};
use crate::RowRefusal;
use crate::matrix::Matrix;

/// SkewedChi2Sampler: a projection of the logarithms of values that are shifted.
#[derive(Debug, Clone)]
pub struct Shifted {
    pub by: f64,
    pub then: Projection,
}

impl Transform for Shifted {
    fn width(&self) -> usize {
        self.then.outputs
    }

    fn name(&self) -> String {
        format!("SkewedChi2({} components)", self.then.outputs)
    }

    fn missing(&self) -> Missing {
        Missing::Refused
    }

    fn apply(&self, m: &mut Matrix) -> Result<(), RowRefusal> {
        let width = m.width.max(1);
        for (at, x) in m.data.iter_mut().enumerate() {
            if *x <= -self.by {
                return Err(RowRefusal::at(at % width, format!("has {x}, which is not above {}", -self.by)));
            }
            *x = (*x + self.by).ln();
        }
        self.then.apply(m)
    }
}

/// PolynomialCountSketch: the circular convolution of sketches of the row, each of which adds up its values in places
/// that were drawn.
#[derive(Debug, Clone)]
pub struct Sketch {
    pub outputs: usize,
    /// What the values are multiplied by.
    pub factor: f64,
    /// For each sketch, the place and the sign of each column, and of the constant after them if there is one.
    pub sketches: Vec<Vec<(usize, f64)>>,
    /// A value after those of the row.
    pub constant: Option<f64>,
}

impl Sketch {
    fn one(&self, row: &[f64], places: &[(usize, f64)]) -> Vec<f64> {
        let mut out = vec![0.0; self.outputs];
        let values = row.iter().map(|x| x * self.factor).chain(self.constant);
        values.zip(places).for_each(|(x, (place, sign))| out[*place] += sign * x);
        out
    }
}

impl Transform for Sketch {
    fn width(&self) -> usize {
        self.outputs
    }

    fn name(&self) -> String {
        format!("PolynomialCountSketch({} components)", self.outputs)
    }

    fn missing(&self) -> Missing {
        Missing::Refused
    }

    fn apply(&self, m: &mut Matrix) -> Result<(), RowRefusal> {
        m.rebuild(self.outputs, |row, out| {
            let mut sketches = self.sketches.iter().map(|places| self.one(row, places));
            let first = sketches.next().unwrap_or_default();
            let product = sketches.fold(first, |product, sketch| {
                let mut sum = vec![0.0; self.outputs];
                for (i, a) in product.iter().enumerate().filter(|(_, a)| **a != 0.0) {
                    let (before, after) = sketch.split_at(self.outputs - i);
                    sum[i..].iter_mut().zip(before).for_each(|(s, b)| *s += a * b);
                    sum.iter_mut().zip(after).for_each(|(s, b)| *s += a * b);
                }
                sum
            });
            out.extend(product);
        });
        Ok(())
    }
}

/// What the columns of a cluster become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    Mean,
    Median,
    Lowest,
    Highest,
    Sum,
}

impl Pooling {
    fn of(self, values: &mut [f64]) -> f64 {
        let sum = || values.iter().fold(0.0, |sum, v| sum + v);
        match self {
            Self::Mean => sum() / values.len() as f64,
            Self::Sum => sum(),
            Self::Lowest => values.iter().copied().fold(f64::INFINITY, f64::min),
            Self::Highest => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            Self::Median => {
                values.sort_by(f64::total_cmp);
                let middle = values.len() / 2;
                let odd = values.len() % 2 == 1;
                if odd { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
            }
        }
    }
}

/// FeatureAgglomeration: each cluster of columns becomes one.
#[derive(Debug, Clone)]
pub struct Pool {
    /// The columns of each cluster; none is empty.
    pub clusters: Vec<Vec<usize>>,
    pub pooling: Pooling,
}

impl Transform for Pool {
    fn width(&self) -> usize {
        self.clusters.len()
    }

    fn name(&self) -> String {
        format!("Pool({:?}, {} clusters)", self.pooling, self.clusters.len())
    }

    fn missing(&self) -> Missing {
        Missing::Refused
    }

    fn apply(&self, m: &mut Matrix) -> Result<(), RowRefusal> {
        let mut values = Vec::new();
        m.rebuild(self.clusters.len(), |row, out| {
            for columns in &self.clusters {
                values.clear();
                values.extend(columns.iter().map(|c| row[*c]));
                out.push(self.pooling.of(&mut values));
            }
        });
        Ok(())
    }
}

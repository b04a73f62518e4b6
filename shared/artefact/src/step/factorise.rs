//! Factors of a row that are not negative: NMF and MiniBatchNMF. Each row is computed as scikit-learn computes a batch of
//! one: there, when a batch has converged depends on all of its rows.

use super::topics::{each_sparse, not_negative};
use super::transform::apply_as_frame;
use super::{Missing, Transform};
use crate::matrix::Matrix;
use crate::{Frame, RowRefusal};

/// What scikit-learn takes for zero in a denominator.
const TINY: f64 = f32::EPSILON as f64;

/// How the factors are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Descent {
    /// One factor after the other, until the gradients are small.
    Coordinates,
    /// Products, until the error no longer falls, which is looked at every tenth round.
    Products { kullback_leibler: bool },
    /// Products, until the factors no longer change: MiniBatchNMF.
    UntilSettled { kullback_leibler: bool },
}

/// NMF and MiniBatchNMF.
#[derive(Debug, Clone)]
pub struct Factors {
    pub factors: usize,
    /// Row-major `width x factors`.
    pub weight: Vec<f64>,
    /// Row-major `factors x factors`: the products of the components with each other.
    pub products: Vec<f64>,
    /// The sum of each component.
    pub sums: Vec<f64>,
    pub descent: Descent,
    pub rounds: usize,
    pub tolerance: f64,
    pub l1: f64,
    pub l2: f64,
}

/// The values of a row that are not zero.
struct Row<'r> {
    columns: &'r [u32],
    values: &'r [f64],
}

impl Factors {
    fn line(&self, column: u32) -> &[f64] {
        &self.weight[column as usize * self.factors..][..self.factors]
    }

    /// The sum of a value of each column times its components.
    fn project(&self, columns: &[u32], values: impl Iterator<Item = f64>) -> Vec<f64> {
        let mut out = vec![0.0; self.factors];
        for (column, value) in columns.iter().zip(values) {
            out.iter_mut().zip(self.line(*column)).for_each(|(o, h)| *o += value * h);
        }
        out
    }

    /// What the factors say of a column.
    fn restored(&self, column: u32, w: &[f64]) -> f64 {
        self.line(column).iter().zip(w).map(|(h, w)| h * w).sum()
    }

    /// `w` times the products of the components.
    fn times_products(&self, w: &[f64]) -> Vec<f64> {
        let lines = self.products.chunks_exact(self.factors);
        lines.map(|line| line.iter().zip(w).map(|(p, w)| p * w).sum()).collect()
    }

    fn by_coordinates(&self, row: &Row<'_>, w: &mut [f64]) {
        let mut target = self.project(row.columns, row.values.iter().copied());
        target.iter_mut().for_each(|t| *t -= self.l1);
        let mut first = 0.0;
        for round in 0..self.rounds {
            let mut violation = 0.0;
            for t in 0..self.factors {
                let line = &self.products[t * self.factors..][..self.factors];
                let mut gradient = -target[t];
                for (r, product) in line.iter().enumerate() {
                    let product = if r == t { product + self.l2 } else { *product };
                    gradient += product * w[r];
                }
                violation += if w[t] == 0.0 { gradient.min(0.0) } else { gradient }.abs();
                let curvature = line[t] + self.l2;
                if curvature != 0.0 {
                    w[t] = (w[t] - gradient / curvature).max(0.0);
                }
            }
            if round == 0 {
                first = violation;
            }
            if first == 0.0 || violation / first <= self.tolerance {
                break;
            }
        }
    }

    /// One round of products. `l1` is its penalty.
    fn multiply(&self, row: &Row<'_>, w: &mut [f64], kullback_leibler: bool, l1: f64) {
        let (mut above, mut below) = if kullback_leibler {
            let ratio = |(c, x): (&u32, &f64)| x / self.restored(*c, w).max(TINY);
            (self.project(row.columns, row.columns.iter().zip(row.values).map(ratio)), self.sums.clone())
        } else {
            (self.project(row.columns, row.values.iter().copied()), self.times_products(w))
        };
        for ((above, below), w) in above.iter_mut().zip(&mut below).zip(w.iter()) {
            *below += l1 + self.l2 * w;
            *above /= if *below == 0.0 { TINY } else { *below };
        }
        w.iter_mut().zip(above).for_each(|(w, factor)| *w *= factor);
    }

    /// The distance of what the factors say to the row.
    fn error(&self, row: &Row<'_>, w: &[f64], kullback_leibler: bool) -> f64 {
        let pairs = row.columns.iter().zip(row.values);
        if kullback_leibler {
            let terms =
                pairs.filter(|(_, x)| **x > TINY).map(|(c, x)| x * (x / self.restored(*c, w).max(TINY)).ln() - x);
            let restored: f64 = w.iter().zip(&self.sums).map(|(w, s)| w * s).sum();
            return (2.0 * (terms.sum::<f64>() + restored).max(0.0)).sqrt();
        }
        let mut at = row.columns.iter().zip(row.values).peekable();
        let mut sum = 0.0;
        for column in 0..(self.weight.len() / self.factors) as u32 {
            let x = at.next_if(|(c, _)| **c == column).map_or(0.0, |(_, x)| *x);
            let apart = x - self.restored(column, w);
            sum += apart * apart;
        }
        sum.sqrt()
    }

    fn by_products(&self, row: &Row<'_>, w: &mut [f64], kullback_leibler: bool) {
        let first = self.error(row, w, kullback_leibler);
        let (mut before, mut l1) = (first, 0.0);
        for round in 1..=self.rounds {
            // scikit-learn adds the penalty to the sums of the components themselves, round by round
            l1 = if kullback_leibler { l1 + self.l1 } else { self.l1 };
            self.multiply(row, w, kullback_leibler, l1);
            if self.tolerance > 0.0 && round % 10 == 0 {
                let error = self.error(row, w, kullback_leibler);
                if (before - error) / first < self.tolerance {
                    break;
                }
                before = error;
            }
        }
    }

    fn until_settled(&self, row: &Row<'_>, w: &mut [f64], kullback_leibler: bool) {
        for _ in 0..self.rounds {
            let before = w.to_vec();
            self.multiply(row, w, kullback_leibler, self.l1);
            let change = w.iter().zip(&before).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt();
            let length = w.iter().map(|w| w * w).sum::<f64>().sqrt();
            if self.tolerance > 0.0 && change / length <= self.tolerance {
                break;
            }
        }
    }
}

impl Transform for Factors {
    fn width(&self) -> usize {
        self.factors
    }

    fn name(&self) -> String {
        format!("Factors({})", self.factors)
    }

    fn missing(&self) -> Missing {
        Missing::Refused
    }

    fn apply(&self, m: &mut Matrix) -> Result<(), RowRefusal> {
        apply_as_frame(self, m)
    }

    fn apply_frame(&self, frame: Frame) -> Result<Frame, RowRefusal> {
        let width = self.weight.len() / self.factors;
        each_sparse(frame, self.factors, |columns, values, out| {
            // MiniBatchNMF does not look
            if !matches!(self.descent, Descent::UntilSettled { .. }) {
                not_negative(columns, values)?;
            }
            let row = Row { columns, values };
            if self.descent != Descent::Coordinates {
                let mean = values.iter().sum::<f64>() / width as f64;
                out.fill((mean / self.factors as f64).sqrt());
            }
            match self.descent {
                Descent::Coordinates => self.by_coordinates(&row, out),
                Descent::Products { kullback_leibler } => self.by_products(&row, out, kullback_leibler),
                Descent::UntilSettled { kullback_leibler } => self.until_settled(&row, out, kullback_leibler),
            }
            Ok(())
        })
    }
}

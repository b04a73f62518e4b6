//! Topics of a row of counts: LatentDirichletAllocation.

use super::transform::apply_as_frame;
use super::{Missing, Transform};
use crate::matrix::Matrix;
use crate::{Frame, RowRefusal};

/// How many rounds an iteration of a decomposition may have for a row.
pub(crate) const MAX_ROUNDS: usize = 100_000;

/// LatentDirichletAllocation: the distribution of topics in a row, by rounds that stop when it no longer changes.
#[derive(Debug, Clone)]
pub struct Topics {
    pub topics: usize,
    /// Row-major `width x topics`: the exponential of the expected logarithm of each word's share in each topic.
    pub words: Vec<f64>,
    pub prior: f64,
    pub rounds: usize,
    /// The mean change of a round after which there is no other.
    pub tolerance: f64,
}

impl Topics {
    fn of(&self, columns: &[u32], counts: &[f64], out: &mut [f64]) {
        let words = |column: u32| &self.words[column as usize * self.topics..][..self.topics];
        let mut expected = vec![0.0; self.topics];
        out.fill(1.0);
        expect(out, &mut expected);
        let mut last = vec![0.0; self.topics];
        for _ in 0..self.rounds {
            last.copy_from_slice(out);
            out.fill(0.0);
            for (column, count) in columns.iter().zip(counts) {
                let share = words(*column).iter().zip(&expected).map(|(w, e)| w * e).sum::<f64>() + f64::EPSILON;
                out.iter_mut().zip(words(*column)).for_each(|(o, w)| *o += count / share * w);
            }
            out.iter_mut().zip(&expected).for_each(|(o, e)| *o = *o * e + self.prior);
            expect(out, &mut expected);
            let change = out.iter().zip(&last).map(|(a, b)| (a - b).abs()).sum::<f64>();
            if change / (self.topics as f64) < self.tolerance {
                break;
            }
        }
        let sum: f64 = out.iter().sum();
        out.iter_mut().for_each(|o| *o /= sum);
    }
}

/// The exponential of the expected logarithm of each share of a Dirichlet distribution.
fn expect(parameters: &[f64], out: &mut [f64]) {
    let total = digamma(parameters.iter().sum());
    out.iter_mut().zip(parameters).for_each(|(o, p)| *o = (digamma(*p) - total).exp());
}

/// The digamma function as scikit-learn approximates it, to the terms at which it stops.
fn digamma(x: f64) -> f64 {
    const EULER: f64 = 0.577_215_664_901_532_9;
    if x <= 1e-6 {
        return -EULER - 1.0 / x;
    }
    let (mut x, mut sum) = (x, 0.0);
    while x < 6.0 {
        sum -= 1.0 / x;
        x += 1.0;
    }
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    sum + x.ln() - 0.5 * inverse - square * (1.0 / 12.0 - square * (1.0 / 120.0 - square / 252.0))
}

impl Transform for Topics {
    fn width(&self) -> usize {
        self.topics
    }

    fn name(&self) -> String {
        format!("Topics({})", self.topics)
    }

    fn missing(&self) -> Missing {
        Missing::Refused
    }

    fn apply(&self, m: &mut Matrix) -> Result<(), RowRefusal> {
        apply_as_frame(self, m)
    }

    fn apply_frame(&self, frame: Frame) -> Result<Frame, RowRefusal> {
        each_sparse(frame, self.topics, |columns, counts, out| {
            not_negative(columns, counts)?;
            self.of(columns, counts, out);
            Ok(())
        })
    }
}

/// Refuses a row with a value below zero.
pub(super) fn not_negative(columns: &[u32], values: &[f64]) -> Result<(), RowRefusal> {
    match columns.iter().zip(values).find(|(_, v)| **v < 0.0) {
        Some((column, value)) => Err(RowRefusal::at(*column as usize, format!("has {value}, which is below zero"))),
        None => Ok(()),
    }
}

/// Calls a function with the columns and values of each row that are not zero, and with the `outputs` values to fill.
pub(super) fn each_sparse(
    frame: Frame,
    outputs: usize,
    mut f: impl FnMut(&[u32], &[f64], &mut [f64]) -> Result<(), RowRefusal>,
) -> Result<Frame, RowRefusal> {
    let mut out = Matrix { width: outputs, data: vec![0.0; frame.rows() * outputs] };
    match frame {
        Frame::Sparse(mut sparse) => {
            sparse.drop_zeros();
            for (to, (columns, values)) in out.iter_mut().zip(sparse.iter()) {
                f(columns, values, to)?;
            }
        }
        frame => {
            let (mut columns, mut values) = (Vec::new(), Vec::new());
            for (to, row) in out.iter_mut().zip(frame.into_numbers()?.iter()) {
                columns.clear();
                values.clear();
                for (column, value) in row.iter().enumerate().filter(|(_, v)| **v != 0.0) {
                    columns.push(column as u32);
                    values.push(*value);
                }
                f(&columns, &values, to)?;
            }
        }
    }
    Ok(Frame::Numbers(out))
}

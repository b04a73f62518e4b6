//! Linear functions of dense or sparse rows.

use forebay_artefact::Frame;

use super::Learner;
use crate::ModelError;

/// `x weight + bias`.
#[derive(Debug)]
pub(crate) struct Linear {
    inputs: usize,
    /// Row-major `inputs x outputs`.
    weight: Vec<f64>,
    bias: Vec<f64>,
    /// Values above it count as 1, the others as 0.
    threshold: Option<f64>,
}

impl Linear {
    /// `coefficients` are row-major `outputs x inputs`, as scikit-learn has them.
    ///
    /// # Errors
    /// When the numbers of values do not match.
    pub(crate) fn new(inputs: usize, coefficients: &[f64], bias: Vec<f64>) -> Result<Self, String> {
        let outputs = bias.len();
        if outputs == 0 || inputs == 0 || inputs.checked_mul(outputs) != Some(coefficients.len()) {
            return Err(format!("{} coefficients for {inputs} columns and {outputs} outputs", coefficients.len()));
        }
        let weight = (0..inputs * outputs).map(|i| coefficients[(i % outputs) * inputs + i / outputs]).collect();
        Ok(Self { inputs, weight, bias, threshold: None })
    }

    /// The function of binarised values, if there is a threshold.
    pub(crate) fn binarised(mut self, threshold: Option<f64>) -> Self {
        self.threshold = threshold;
        self
    }

    fn add(&self, column: usize, x: f64, out: &mut [f64]) {
        let x = self.threshold.map_or(x, |t| f64::from(u8::from(x > t)));
        let weights = &self.weight[column * self.bias.len()..][..self.bias.len()];
        out.iter_mut().zip(weights).for_each(|(o, w)| *o += x * w);
    }
}

impl Learner for Linear {
    fn width(&self) -> usize {
        self.inputs
    }

    fn outputs(&self) -> usize {
        self.bias.len()
    }

    fn name(&self) -> String {
        format!("Linear({} -> {})", self.inputs, self.bias.len())
    }

    fn run(&self, frame: &Frame) -> Result<Vec<f64>, ModelError> {
        let mut out = vec![0.0; frame.rows() * self.bias.len()];
        let rows = out.chunks_exact_mut(self.bias.len());
        match frame {
            Frame::Sparse(sparse) if self.threshold.is_none_or(|t| t >= 0.0) => {
                for (to, (columns, values)) in rows.zip(sparse.iter()) {
                    columns.iter().zip(values).for_each(|(c, v)| self.add(*c as usize, *v, to));
                    to.iter_mut().zip(&self.bias).for_each(|(o, b)| *o += b);
                }
            }
            dense => {
                let m = dense.numbers().map_err(ModelError::Row)?;
                for (to, row) in rows.zip(m.iter()) {
                    row.iter().enumerate().for_each(|(c, v)| self.add(c, *v, to));
                    to.iter_mut().zip(&self.bias).for_each(|(o, b)| *o += b);
                }
            }
        }
        Ok(out)
    }
}

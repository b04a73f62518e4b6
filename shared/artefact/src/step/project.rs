//! Linear maps of rows: PCA and other decompositions, random projections, feature maps of kernels.

use super::{Missing, Transform};
use crate::Frame;
use crate::RowRefusal;
use crate::matrix::Matrix;

/// A function of each output of a [`Projection`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputCurve {
    None,
    /// RBFSampler, SkewedChi2Sampler.
    Cosine,
    /// BernoulliRBM.
    Logistic,
}

/// `f((x - center) / scale @ weight + bias) * factor`, each part optional.
#[derive(Debug, Clone)]
pub struct Projection {
    pub label: &'static str,
    pub outputs: usize,
    pub center: Option<Vec<f64>>,
    pub scale: Option<Vec<f64>>,
    /// Row-major `inputs x outputs`.
    pub weight: Vec<f64>,
    pub bias: Option<Vec<f64>>,
    /// One factor per output.
    pub factor: Option<Vec<f64>>,
    /// What is applied before the factor.
    pub curve: OutputCurve,
    /// Whether sparse rows stay so: SparseRandomProjection.
    pub keeps_sparse: bool,
}

impl Projection {
    /// A map by the transposed `components`, which are row-major `outputs x inputs`.
    pub fn by_components(label: &'static str, inputs: usize, components: &[f64]) -> Self {
        let outputs = components.len() / inputs.max(1);
        let weight = (0..inputs * outputs).map(|i| components[(i % outputs) * inputs + i / outputs]).collect();
        Self {
            label,
            outputs,
            center: None,
            scale: None,
            weight,
            bias: None,
            factor: None,
            curve: OutputCurve::None,
            keeps_sparse: false,
        }
    }

    /// Adds `x * weight[column]` to the outputs.
    pub fn add(&self, column: usize, x: f64, out: &mut [f64]) {
        let weights = &self.weight[column * self.outputs..][..self.outputs];
        out.iter_mut().zip(weights).for_each(|(o, w)| *o += x * w);
    }

    /// What is left to do once the products are summed.
    pub fn finish(&self, out: &mut [f64]) {
        if let Some(bias) = &self.bias {
            out.iter_mut().zip(bias).for_each(|(o, b)| *o += b);
        }
        match self.curve {
            OutputCurve::None => {}
            OutputCurve::Cosine => out.iter_mut().for_each(|o| *o = o.cos()),
            OutputCurve::Logistic => out.iter_mut().for_each(|o| *o = 1.0 / (1.0 + (-*o).exp())),
        }
        if let Some(factor) = &self.factor {
            out.iter_mut().zip(factor).for_each(|(o, f)| *o *= f);
        }
    }
}

impl Transform for Projection {
    fn width(&self) -> usize {
        self.outputs
    }

    fn name(&self) -> String {
        format!("{}({} components)", self.label, self.outputs)
    }

    fn missing(&self) -> Missing {
        Missing::Refused
    }

    fn apply(&self, m: &mut Matrix) -> Result<(), RowRefusal> {
        m.rebuild(self.outputs, |row, data| {
            let start = data.len();
            data.resize(start + self.outputs, 0.0);
            let out = &mut data[start..];
            for (column, x) in row.iter().enumerate() {
                let mut x = *x;
                if let Some(center) = &self.center {
                    x -= center[column];
                }
                if let Some(scale) = &self.scale {
                    x /= scale[column];
                }
                if x != 0.0 {
                    self.add(column, x, out);
                }
            }
            self.finish(out);
        });
        Ok(())
    }

    fn apply_frame(&self, frame: Frame) -> Result<Frame, RowRefusal> {
        let (Frame::Sparse(sparse), None, None) = (&frame, &self.center, &self.scale) else {
            let mut m = frame.into_numbers()?;
            self.apply(&mut m)?;
            return Ok(Frame::Numbers(m));
        };
        let mut m = Matrix { width: self.outputs, data: vec![0.0; sparse.ends.len() * self.outputs] };
        for (out, (columns, values)) in m.iter_mut().zip(sparse.iter()) {
            columns.iter().zip(values).for_each(|(c, v)| self.add(*c as usize, *v, out));
            self.finish(out);
        }
        Ok(Frame::Numbers(m))
    }

    fn sparse_after(&self, sparse: bool) -> bool {
        sparse && self.keeps_sparse
    }
}

/// Keeps some columns: feature selection.
#[derive(Debug, Clone)]
pub struct Select {
    pub columns: Vec<usize>,
    pub missing: Missing,
}

impl Transform for Select {
    fn width(&self) -> usize {
        self.columns.len()
    }

    fn name(&self) -> String {
        format!("Select({} columns)", self.columns.len())
    }

    fn missing(&self) -> Missing {
        self.missing
    }

    fn missing_columns(&self, width: usize, later: &[bool]) -> Vec<bool> {
        let mut missing = vec![self.missing != Missing::Refused; width];
        if self.missing == Missing::Pass {
            self.columns.iter().zip(later).for_each(|(column, may_be)| missing[*column] = *may_be);
        }
        missing
    }

    fn keeps_values(&self) -> bool {
        true
    }

    fn source(&self, column: usize) -> Option<usize> {
        self.columns.get(column).copied()
    }

    fn apply(&self, m: &mut Matrix) -> Result<(), RowRefusal> {
        m.rebuild(self.columns.len(), |row, out| out.extend(self.columns.iter().map(|c| row[*c])));
        Ok(())
    }

    fn apply_frame(&self, frame: Frame) -> Result<Frame, RowRefusal> {
        Ok(frame.select(&self.columns))
    }

    fn sparse_after(&self, sparse: bool) -> bool {
        sparse
    }
}

/// Appends to each row its 0/1 flags of missing values: MissingIndicator.
#[derive(Debug, Clone)]
pub struct Indicate {
    /// The value that counts as missing; `None` means NaN.
    pub missing: Option<f64>,
    pub columns: Vec<usize>,
    /// Whether it was fitted to give sparse rows; `None` if it does so for sparse rows.
    pub sparse: Option<bool>,
}

impl Transform for Indicate {
    fn width(&self) -> usize {
        self.columns.len()
    }

    fn name(&self) -> String {
        format!("MissingIndicator({} columns)", self.columns.len())
    }

    fn missing(&self) -> Missing {
        if self.missing.is_none() { Missing::Gone } else { Missing::Refused }
    }

    fn apply(&self, m: &mut Matrix) -> Result<(), RowRefusal> {
        m.rebuild(self.columns.len(), |row, out| {
            let is = |v: f64| self.missing.map_or(v.is_nan(), |marker| v == marker);
            out.extend(self.columns.iter().map(|c| f64::from(u8::from(is(row[*c])))));
        });
        Ok(())
    }

    fn sparse_after(&self, sparse: bool) -> bool {
        self.sparse.unwrap_or(sparse)
    }
}

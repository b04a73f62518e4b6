//! Different steps for different columns, side by side: ColumnTransformer.

use super::{Missing, Step, apply_all, missing_after};
use crate::matrix::Matrix;

/// Some columns and the steps that transform them.
#[derive(Debug, Clone)]
pub struct Part {
    pub columns: Vec<usize>,
    pub steps: Vec<Step>,
    /// Number of output values of this part.
    pub width: usize,
    /// What its output is multiplied by.
    pub weight: Option<f64>,
}

/// Parts whose results are concatenated in order. Columns in no part are dropped.
#[derive(Debug, Clone)]
pub struct Columns {
    pub parts: Vec<Part>,
}

impl Columns {
    pub(super) fn width(&self) -> usize {
        self.parts.iter().map(|p| p.width).sum()
    }

    pub(super) fn missing_values(&self) -> Missing {
        let parts: Vec<Missing> = self.parts.iter().map(|p| missing_after(&p.steps)).collect();
        match parts.as_slice() {
            parts if parts.contains(&Missing::Refused) => Missing::Refused,
            parts if parts.contains(&Missing::Pass) => Missing::Pass,
            _ => Missing::Gone,
        }
    }

    pub(super) fn name(&self) -> String {
        let part = |p: &Part| p.steps.iter().map(Step::name).collect::<Vec<_>>().join("+");
        format!("Columns({})", self.parts.iter().map(part).collect::<Vec<_>>().join(", "))
    }

    pub(super) fn apply(&self, m: &mut Matrix) -> Result<(), String> {
        let (rows, width) = (m.rows(), self.width());
        let mut out = Matrix { width, data: vec![0.0; rows * width] };
        let mut start = 0;
        for part in &self.parts {
            let mut taken = m.clone();
            taken.rebuild(part.columns.len(), |row, out| out.extend(part.columns.iter().map(|c| row[*c])));
            apply_all(&part.steps, &mut taken)?;
            for (to, from) in out.iter_mut().zip(taken.iter()) {
                to[start..start + part.width].copy_from_slice(from);
                if let Some(weight) = part.weight {
                    to[start..start + part.width].iter_mut().for_each(|x| *x *= weight);
                }
            }
            start += part.width;
        }
        *m = out;
        Ok(())
    }
}

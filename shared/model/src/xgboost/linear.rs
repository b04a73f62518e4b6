//! XGBoost's linear booster.

use crate::Rows;
use crate::document::Value;

/// Weights per feature and group, and a bias per group.
#[derive(Debug)]
pub(super) struct Linear {
    /// Row-major `width x groups`.
    weights: Vec<f32>,
    start: Vec<f32>,
}

impl Linear {
    /// Reads a `gblinear` booster; `start` has the margin of the base score of every group.
    pub(super) fn read(booster: &Value<'_>, width: usize, start: &[f32]) -> Result<Self, String> {
        Self::of(booster.need("model")?.numbers_at("weights")?, width, start)
    }

    /// A booster of weights, row-major `width + 1 x groups`, the last row of which is the bias.
    pub(super) fn of(mut weights: Vec<f32>, width: usize, start: &[f32]) -> Result<Self, String> {
        let (groups, got) = (start.len(), weights.len());
        if (width + 1).checked_mul(groups) != Some(got) || weights.iter().any(|w| !w.is_finite()) {
            return Err(format!("{got} weights, expected a finite one per feature and group, and a bias"));
        }
        let bias = weights.split_off(width * groups);
        // XGBoost starts every group from the first base score
        let start = bias.iter().map(|b| b + start[0]).collect();
        Ok(Self { weights, start })
    }

    /// Adds what is not missing, in the order of the features.
    pub(super) fn predict(&self, rows: Rows<'_>, margins: &mut [f32]) {
        let groups = self.start.len();
        for (row, margins) in rows.iter().zip(margins.chunks_exact_mut(groups)) {
            margins.copy_from_slice(&self.start);
            for (x, weights) in row.iter().zip(self.weights.chunks_exact(groups)) {
                if !x.is_nan() {
                    margins.iter_mut().zip(weights).for_each(|(m, w)| *m += *x as f32 * w);
                }
            }
        }
    }

    pub(super) fn name(&self) -> String {
        format!("linear of {} weights", self.weights.len())
    }
}

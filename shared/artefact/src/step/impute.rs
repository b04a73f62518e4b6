//! Filling missing values: SimpleImputer.

use super::Missing;
use crate::matrix::Matrix;

/// Columns that had no value at all when the imputer was fitted are dropped.
#[derive(Debug, Clone)]
pub struct Impute {
    /// What counts as missing; `None` is NaN.
    pub missing: Option<f64>,
    /// `(input column, fill)` of the columns kept, in order.
    pub kept: Vec<(usize, f64)>,
    /// Input columns whose missingness is appended as 0/1.
    pub indicator: Vec<usize>,
}

impl Impute {
    pub(super) fn width(&self) -> usize {
        self.kept.len() + self.indicator.len()
    }

    /// An imputer of another marker refuses NaN, as scikit-learn's does.
    pub(super) fn missing_values(&self) -> Missing {
        if self.missing.is_none() { Missing::Gone } else { Missing::Refused }
    }

    fn is_missing(&self, v: f64) -> bool {
        self.missing.map_or(v.is_nan(), |m| v == m)
    }

    pub(super) fn apply(&self, m: &mut Matrix) {
        m.rebuild(self.width(), |row, out| {
            out.extend(self.kept.iter().map(|&(c, fill)| if self.is_missing(row[c]) { fill } else { row[c] }));
            out.extend(self.indicator.iter().map(|&c| f64::from(u8::from(self.is_missing(row[c])))));
        });
    }
}

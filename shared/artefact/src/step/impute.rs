//! Imputation of missing values: SimpleImputer.

use super::Missing;
use crate::Sparse;
use crate::frame::select_sparse;
use crate::matrix::Matrix;

/// An imputer. Columns that had no value when it was fitted are dropped.
#[derive(Debug, Clone)]
pub struct Impute {
    /// The value that counts as missing; `None` means NaN.
    pub missing: Option<f64>,
    /// `(input column, fill value)` of the columns that are kept, in order.
    pub kept: Vec<(usize, f64)>,
    /// Input columns for which a 0/1 indicator of missing values is appended.
    pub indicator: Vec<usize>,
}

impl Impute {
    pub(super) fn width(&self) -> usize {
        self.kept.len() + self.indicator.len()
    }

    /// An imputer with another marker rejects NaN, as in scikit-learn.
    pub(super) fn missing_values(&self) -> Missing {
        if self.missing.is_none() { Missing::Gone } else { Missing::Refused }
    }

    pub(super) fn is_missing(&self, v: f64) -> bool {
        self.missing.map_or(v.is_nan(), |m| v == m)
    }

    /// Whether sparse rows stay so: absent values are zeros, not missing.
    pub(super) fn takes_sparse(&self) -> bool {
        self.indicator.is_empty() && self.missing != Some(0.0)
    }

    /// As [`Impute::apply`], for sparse rows if it takes them.
    pub(super) fn apply_sparse(&self, sparse: &Sparse) -> Sparse {
        let columns: Vec<usize> = self.kept.iter().map(|(column, _)| *column).collect();
        let mut kept = select_sparse(sparse, &columns);
        for (v, column) in kept.values.iter_mut().zip(&kept.columns) {
            if self.is_missing(*v) {
                *v = self.kept[*column as usize].1;
            }
        }
        kept
    }

    pub(super) fn apply(&self, m: &mut Matrix) {
        m.rebuild(self.width(), |row, out| {
            out.extend(self.kept.iter().map(|&(c, fill)| if self.is_missing(row[c]) { fill } else { row[c] }));
            out.extend(self.indicator.iter().map(|&c| f64::from(u8::from(self.is_missing(row[c])))));
        });
    }
}

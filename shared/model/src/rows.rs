//! A batch of rows of features, as a model reads it.

use crate::ModelError;

/// Borrowed rows: dense, row-major f64, `len x width`. NaN is a missing value.
#[derive(Debug, Clone, Copy)]
pub struct Rows<'a> {
    width: usize,
    values: &'a [f64],
}

impl<'a> Rows<'a> {
    /// Views `values` as rows of `width` values.
    ///
    /// # Errors
    /// [`ModelError::Ragged`] when `width` is 0 or the values do not make whole rows.
    pub fn new(width: usize, values: &'a [f64]) -> Result<Self, ModelError> {
        if width == 0 || !values.len().is_multiple_of(width) {
            return Err(ModelError::Ragged { width, values: values.len() });
        }
        Ok(Self { width, values })
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The number of values in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Row `i`, `width` values.
    ///
    /// # Panics
    /// When `i >= len()`.
    pub fn row(&self, i: usize) -> &'a [f64] {
        &self.values[i * self.width..(i + 1) * self.width]
    }

    /// An iterator over the rows.
    pub fn iter(&self) -> std::slice::ChunksExact<'a, f64> {
        self.values.chunks_exact(self.width)
    }

    /// The values of all rows, row-major.
    pub fn values(&self) -> &'a [f64] {
        self.values
    }
}

impl<'a> IntoIterator for &Rows<'a> {
    type Item = &'a [f64];
    type IntoIter = std::slice::ChunksExact<'a, f64>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

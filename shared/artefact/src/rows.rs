//! A batch of rows, as a model reads it.

use crate::Value;

/// Borrowed rows, row-major, `len x width`: of numbers, where NaN is a missing value, or of typed values.
#[derive(Debug)]
pub struct Rows<'a, V = f64> {
    width: usize,
    values: &'a [V],
}

// derived, they would ask the same of the values
impl<V> Clone for Rows<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Rows<'_, V> {}

/// Rows of typed values.
pub type TypedRows<'a> = Rows<'a, Value>;

/// Values that do not make whole rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{values} values do not make whole rows of width {width}")]
pub struct RaggedRows {
    pub width: usize,
    pub values: usize,
}

impl<'a, V> Rows<'a, V> {
    /// Views `values` as rows of `width` values.
    ///
    /// # Errors
    /// [`RaggedRows`] when `width` is 0 or the values do not make whole rows.
    pub fn new(width: usize, values: &'a [V]) -> Result<Self, RaggedRows> {
        if width == 0 || !values.len().is_multiple_of(width) {
            return Err(RaggedRows { width, values: values.len() });
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
    pub fn row(&self, i: usize) -> &'a [V] {
        &self.values[i * self.width..(i + 1) * self.width]
    }

    /// An iterator over the rows.
    pub fn iter(&self) -> std::slice::ChunksExact<'a, V> {
        self.values.chunks_exact(self.width)
    }

    /// The values of all rows, row-major.
    pub fn values(&self) -> &'a [V] {
        self.values
    }
}

impl<'a, V> IntoIterator for &Rows<'a, V> {
    type Item = &'a [V];
    type IntoIter = std::slice::ChunksExact<'a, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_values() {
        let values = [Value::Integer(1), Value::Text("a".into()), Value::Missing, Value::Text("b".into())];
        let rows = TypedRows::new(2, &values).unwrap();
        assert_eq!((rows.len(), rows.width(), rows.is_empty()), (2, 2, false));
        assert_eq!(rows.row(1), &values[2..]);
        assert_eq!(rows.iter().count(), 2);
        assert_eq!(TypedRows::new(3, &values).unwrap_err(), RaggedRows { width: 3, values: 4 });
        assert!(TypedRows::new(0, &[]).is_err());
        assert!(TypedRows::new(2, &[]).unwrap().is_empty());
    }
}

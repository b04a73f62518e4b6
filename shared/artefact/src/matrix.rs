//! A batch of rows: dense, row-major f64.

/// `data.len() / width` rows of `width` values.
#[derive(Debug, Clone, Default)]
pub struct Matrix {
    pub width: usize,
    pub data: Vec<f64>,
}

impl Matrix {
    pub fn rows(&self) -> usize {
        self.data.len().checked_div(self.width).unwrap_or(0)
    }

    pub fn iter(&self) -> std::slice::ChunksExact<'_, f64> {
        self.data.chunks_exact(self.width.max(1))
    }

    pub fn iter_mut(&mut self) -> std::slice::ChunksExactMut<'_, f64> {
        self.data.chunks_exact_mut(self.width.max(1))
    }

    /// Replaces every row by the values that `f` appends for it, which must be `width` in number.
    pub fn rebuild(&mut self, width: usize, mut f: impl FnMut(&[f64], &mut Vec<f64>)) {
        let mut data = Vec::with_capacity(self.rows() * width);
        for row in self.iter() {
            f(row, &mut data);
        }
        *self = Self { width, data };
    }
}

//! A batch of rows in the form that a step or an estimator takes: numbers, typed values, or sparse numbers.

use std::borrow::Cow;

use crate::matrix::Matrix;
use crate::{RowRefusal, TypedRows, Value};

/// The most values that a sparse batch may have once it is dense: 1 GiB.
const MAX_DENSE: usize = 1 << 27;

/// A batch of rows.
#[derive(Debug, Clone)]
pub enum Frame {
    Numbers(Matrix),
    Values(Cells),
    Sparse(Sparse),
}

/// Typed values, row-major.
#[derive(Debug, Clone)]
pub struct Cells {
    pub width: usize,
    pub data: Vec<Value>,
}

/// Rows that are zero but for some columns, which ascend in each row.
#[derive(Debug, Clone, Default)]
pub struct Sparse {
    pub width: usize,
    /// Where each row ends in `columns` and `values`.
    pub ends: Vec<usize>,
    pub columns: Vec<u32>,
    pub values: Vec<f64>,
}

impl Sparse {
    /// The columns and values of each row.
    pub fn iter(&self) -> impl Iterator<Item = (&[u32], &[f64])> {
        self.ends.iter().enumerate().map(|(i, end)| {
            let start = if i == 0 { 0 } else { self.ends[i - 1] };
            (&self.columns[start..*end], &self.values[start..*end])
        })
    }

    /// Calls a function with the columns and values of each row.
    pub fn for_each_row(&mut self, mut f: impl FnMut(&[u32], &mut [f64])) {
        let mut start = 0;
        for end in &self.ends {
            f(&self.columns[start..*end], &mut self.values[start..*end]);
            start = *end;
        }
    }

    /// Removes the values that are zero.
    pub fn drop_zeros(&mut self) {
        let (mut start, mut to) = (0, 0);
        for end in &mut self.ends {
            for at in start..*end {
                if self.values[at] != 0.0 {
                    (self.columns[to], self.values[to]) = (self.columns[at], self.values[at]);
                    to += 1;
                }
            }
            (start, *end) = (*end, to);
        }
        self.columns.truncate(to);
        self.values.truncate(to);
    }

    /// Adds a value to the last row, if it has a place; places ascend.
    pub(crate) fn push(&mut self, place: Option<usize>, value: f64) {
        if let Some(place) = place {
            self.columns.push(place as u32);
            self.values.push(value);
        }
    }

    /// Ends a row.
    pub fn end_row(&mut self) {
        self.ends.push(self.columns.len());
    }

    fn dense(&self, absent: f64) -> Result<Matrix, RowRefusal> {
        let size = self.ends.len().checked_mul(self.width).filter(|n| *n <= MAX_DENSE);
        let size = size.ok_or_else(|| RowRefusal::of_row(format!("is too large with {} columns", self.width)))?;
        let mut m = Matrix { width: self.width, data: vec![absent; size] };
        for (to, (columns, values)) in m.iter_mut().zip(self.iter()) {
            columns.iter().zip(values).for_each(|(c, v)| to[*c as usize] = *v);
        }
        Ok(m)
    }
}

impl Cells {
    /// An iterator over the rows.
    pub fn iter(&self) -> std::slice::ChunksExact<'_, Value> {
        self.data.chunks_exact(self.width.max(1))
    }

    fn numbers(&self) -> Result<Matrix, RowRefusal> {
        let number = |(i, v): (usize, &Value)| {
            v.number().ok_or_else(|| RowRefusal::at(i % self.width.max(1), "has text, a number is needed"))
        };
        let data = self.data.iter().enumerate().map(number).collect::<Result<_, _>>()?;
        Ok(Matrix { width: self.width, data })
    }
}

impl From<TypedRows<'_>> for Frame {
    fn from(rows: TypedRows<'_>) -> Self {
        Self::Values(Cells { width: rows.width(), data: rows.values().to_vec() })
    }
}

impl Frame {
    /// The number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Self::Numbers(m) => m.rows(),
            Self::Values(cells) => cells.data.len().checked_div(cells.width).unwrap_or(0),
            Self::Sparse(sparse) => sparse.ends.len(),
        }
    }

    /// The number of values in a row.
    pub fn width(&self) -> usize {
        match self {
            Self::Numbers(m) => m.width,
            Self::Values(cells) => cells.width,
            Self::Sparse(sparse) => sparse.width,
        }
    }

    /// The rows as dense numbers.
    ///
    /// # Errors
    /// When a value is text, or sparse rows are too large when dense.
    pub fn into_numbers(self) -> Result<Matrix, RowRefusal> {
        self.into_numbers_or(0.0)
    }

    /// As [`Frame::into_numbers`], with `absent` where sparse rows have no value.
    ///
    /// # Errors
    /// As [`Frame::into_numbers`].
    pub fn into_numbers_or(self, absent: f64) -> Result<Matrix, RowRefusal> {
        match self {
            Self::Numbers(m) => Ok(m),
            Self::Values(cells) => cells.numbers(),
            Self::Sparse(sparse) => sparse.dense(absent),
        }
    }

    /// As [`Frame::into_numbers`], without a copy if the rows are dense numbers already.
    ///
    /// # Errors
    /// As [`Frame::into_numbers`].
    pub fn numbers(&self) -> Result<Cow<'_, Matrix>, RowRefusal> {
        Ok(match self {
            Self::Numbers(m) => Cow::Borrowed(m),
            Self::Values(cells) => Cow::Owned(cells.numbers()?),
            Self::Sparse(sparse) => Cow::Owned(sparse.dense(0.0)?),
        })
    }

    /// The rows as sparse numbers, without the zeros of dense ones.
    ///
    /// # Errors
    /// When a value is text.
    pub fn into_sparse(self) -> Result<Sparse, RowRefusal> {
        match self {
            Self::Sparse(sparse) => Ok(sparse),
            other => {
                let (width, rows) = (other.width(), other.rows());
                sparse_beside(width, rows, vec![other])
            }
        }
    }

    /// The rows as typed values.
    ///
    /// # Errors
    /// As [`Frame::into_numbers`].
    pub fn into_cells(self) -> Result<Cells, RowRefusal> {
        match self {
            Self::Values(cells) => Ok(cells),
            other => {
                let m = other.into_numbers()?;
                Ok(Cells { width: m.width, data: m.data.into_iter().map(Value::from).collect() })
            }
        }
    }

    /// Some columns of every row, in the order of `columns`.
    pub fn select(&self, columns: &[usize]) -> Self {
        match self {
            Self::Numbers(m) => {
                let data = m.iter().flat_map(|row| columns.iter().map(|c| row[*c])).collect();
                Self::Numbers(Matrix { width: columns.len(), data })
            }
            Self::Values(cells) => {
                let data = cells.iter().flat_map(|row| columns.iter().map(|c| row[*c].clone())).collect();
                Self::Values(Cells { width: columns.len(), data })
            }
            Self::Sparse(sparse) => Self::Sparse(select_sparse(sparse, columns)),
        }
    }

    /// Frames side by side; sparse if one of them is.
    ///
    /// # Errors
    /// As [`Frame::into_numbers`].
    pub fn beside(frames: Vec<Self>) -> Result<Self, RowRefusal> {
        // values that are numbers need not stay typed
        let untyped = |frame| match frame {
            Self::Values(cells) => cells.numbers().map_or(Self::Values(cells), Self::Numbers),
            other => other,
        };
        let mut frames: Vec<Self> = frames.into_iter().map(untyped).collect();
        // one without columns does not know how many rows it has
        if frames.iter().any(|frame| frame.width() > 0) {
            frames.retain(|frame| frame.width() > 0);
        }
        let width = frames.iter().map(Self::width).sum();
        let rows = frames.first().map_or(0, Self::rows);
        if frames.iter().any(|f| matches!(f, Self::Sparse(_))) {
            return Ok(Self::Sparse(sparse_beside(width, rows, frames)?));
        }
        if frames.iter().any(|f| matches!(f, Self::Values(_))) {
            let parts: Vec<Cells> = frames.into_iter().map(Self::into_cells).collect::<Result<_, _>>()?;
            let mut data = Vec::with_capacity(rows * width);
            for row in 0..rows {
                parts.iter().for_each(|p| data.extend_from_slice(&p.data[row * p.width..(row + 1) * p.width]));
            }
            return Ok(Self::Values(Cells { width, data }));
        }
        let parts: Vec<Matrix> = frames.into_iter().map(Self::into_numbers).collect::<Result<_, _>>()?;
        let mut data = Vec::with_capacity(rows * width);
        for row in 0..rows {
            parts.iter().for_each(|p| data.extend_from_slice(&p.data[row * p.width..(row + 1) * p.width]));
        }
        Ok(Self::Numbers(Matrix { width, data }))
    }
}

pub(crate) fn select_sparse(sparse: &Sparse, columns: &[usize]) -> Sparse {
    let mut out = Sparse { width: columns.len(), ..Sparse::default() };
    for (own, values) in sparse.iter() {
        for (to, column) in columns.iter().enumerate() {
            if let Ok(at) = own.binary_search(&(*column as u32)) {
                out.columns.push(to as u32);
                out.values.push(values[at]);
            }
        }
        out.end_row();
    }
    out
}

fn sparse_beside(width: usize, rows: usize, frames: Vec<Frame>) -> Result<Sparse, RowRefusal> {
    let mut parts = Vec::with_capacity(frames.len());
    for frame in frames {
        parts.push(match frame {
            Frame::Sparse(sparse) => Frame::Sparse(sparse),
            other => Frame::Numbers(other.into_numbers()?),
        });
    }
    let mut out = Sparse { width, ..Sparse::default() };
    for row in 0..rows {
        let mut first = 0;
        for part in &parts {
            match part {
                Frame::Sparse(sparse) => {
                    let start = if row == 0 { 0 } else { sparse.ends[row - 1] };
                    out.columns.extend(sparse.columns[start..sparse.ends[row]].iter().map(|c| first + c));
                    out.values.extend_from_slice(&sparse.values[start..sparse.ends[row]]);
                }
                Frame::Numbers(m) => {
                    for (column, v) in m.data[row * m.width..(row + 1) * m.width].iter().enumerate() {
                        if *v != 0.0 {
                            out.columns.push(first + column as u32);
                            out.values.push(*v);
                        }
                    }
                }
                Frame::Values(_) => {}
            }
            first += part.width() as u32;
        }
        out.end_row();
    }
    Ok(out)
}

//! Matrices of an artefact: arrays of two axes, and SciPy's sparse matrices made dense.

use super::View;
use super::graph::Node;
use crate::Fault;

/// The most values of a sparse matrix that is made dense.
const MAX_DENSE: usize = 1 << 26;

impl View<'_> {
    /// As [`View::kind`], with the release of the library that an object states.
    pub fn described(&self) -> String {
        match self.opt("_sklearn_version").and_then(|v| v.text().ok().map(str::to_owned)) {
            Some(version) => format!("{} of scikit-learn {version}", self.kind()),
            None => self.kind(),
        }
    }

    /// The values of a matrix, row-major, and its numbers of rows and columns. A vector is one row.
    ///
    /// # Errors
    /// A [`Fault`] for something else, or a sparse matrix that is too large when dense or refers outside itself.
    pub fn matrix(&self) -> Result<(Vec<f64>, [usize; 2]), Fault> {
        if self.opt("indptr").is_some() {
            return self.sparse();
        }
        if let Ok(rows) = self.items() {
            let values = self.numbers()?;
            let columns = values.len().checked_div(rows.len()).unwrap_or(0);
            let shape = [rows.len(), columns];
            return if columns * rows.len() == values.len() {
                Ok((values, shape))
            } else {
                Err(self.fault("is ragged"))
            };
        }
        let values = self.numbers()?;
        // the array is accounted for with its values
        let shape = if let Node::Array(array) = self.node() { array.shape.as_slice() } else { &[] };
        match *shape {
            [rows, columns] => Ok((values, [rows, columns])),
            [columns] => Ok((values, [1, columns])),
            [] => Ok((values, [1, 1])),
            ref shape => Err(self.fault(format!("has shape {shape:?}"))),
        }
    }

    /// The numbers of rows and columns of a matrix, as [`View::matrix`] gives them.
    ///
    /// # Errors
    /// As [`View::matrix`].
    pub fn matrix_shape(&self) -> Result<[usize; 2], Fault> {
        match self.node() {
            Node::Array(array) if array.shape.len() == 2 => Ok([array.shape[0], array.shape[1]]),
            _ => self.scratch(|| self.matrix()).map(|(_, shape)| shape),
        }
    }

    fn sparse(&self) -> Result<(Vec<f64>, [usize; 2]), Fault> {
        let by_column = self.class().contains("csc");
        let shape = self.opt("_shape").map_or_else(|| self.attr("shape"), Ok)?.numbers()?;
        let [rows, columns] = shape[..] else { return Err(self.fault("has not two axes")) };
        let dense = rows * columns;
        if !(dense >= 0.0 && dense <= MAX_DENSE as f64) {
            return Err(self.fault(format!("is {rows} x {columns}, too large")));
        }
        let (rows, columns) = (rows as usize, columns as usize);
        let (ends, places) = (self.attr("indptr")?.numbers()?, self.attr("indices")?.numbers()?);
        let data = self.attr("data")?.numbers()?;
        let (lines, across) = if by_column { (columns, rows) } else { (rows, columns) };
        if ends.len() != lines + 1 || places.len() != data.len() {
            return Err(self.fault("indices do not match"));
        }
        self.spend(rows * columns)?;
        self.allocate(rows * columns * size_of::<f64>())?;
        let mut values = vec![0.0; rows * columns];
        for (line, range) in ends.windows(2).enumerate() {
            let (start, end) = (range[0].max(0.0) as usize, range[1].max(0.0) as usize);
            let range = start..end;
            let (Some(places), Some(data)) = (places.get(range.clone()), data.get(range)) else {
                return Err(self.fault("refers outside its values"));
            };
            for (place, value) in places.iter().zip(data) {
                if !(*place >= 0.0 && *place < across as f64) {
                    return Err(self.fault(format!("index {place} of {across}")));
                }
                let place = *place as usize;
                let (row, column) = if by_column { (place, line) } else { (line, place) };
                values[row * columns + column] += value;
            }
        }
        Ok((values, [rows, columns]))
    }
}

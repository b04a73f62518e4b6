//! Some consecutive rows of a file of columns.

use arrow_array::RecordBatch;
use forebay_contract::Value;

use super::cells::Cells;

pub(in crate::score) struct RowBatch {
    /// The model's features; `None` for one that the file lacks.
    features: Vec<Option<Cells>>,
    /// Number of the first row, from 1.
    first: u64,
    rows: usize,
    has_text: bool,
}

impl RowBatch {
    /// Takes `features` out of `rows`, by their indices.
    pub(super) fn new(rows: &RecordBatch, features: &[Option<usize>], first: u64) -> Result<Self, String> {
        let cells = |at: &Option<usize>| {
            let column = at.and_then(|at| rows.columns().get(at));
            column.map(Cells::new).transpose().map_err(|kind| format!("a column of type {kind} cannot be read"))
        };
        let features = features.iter().map(cells).collect::<Result<Vec<_>, String>>()?;
        let has_text = features.iter().flatten().any(Cells::is_text);
        Ok(Self { features, first, rows: rows.num_rows(), has_text })
    }

    pub(in crate::score) fn len(&self) -> usize {
        self.rows
    }

    /// The numbers of the rows, from 1.
    pub(in crate::score) fn numbers(&self) -> impl Iterator<Item = u64> {
        (self.first..).take(self.rows)
    }

    /// Whether a feature is text in the file.
    pub(in crate::score) fn has_text(&self) -> bool {
        self.has_text
    }

    /// Appends the features of the row at `index`, NaN for a missing one. There must be no text.
    pub(in crate::score) fn append_numbers(&self, index: usize, row: &mut Vec<f64>) {
        row.extend(self.features.iter().map(|cells| cells.as_ref().map_or(f64::NAN, |cells| cells.number(index))));
    }

    /// The features of the row at `index`.
    pub(in crate::score) fn values(&self, index: usize) -> Vec<Value> {
        let value = |cells: &Option<Cells>| cells.as_ref().map_or(Value::MISSING, |cells| cells.value(index));
        self.features.iter().map(value).collect()
    }
}

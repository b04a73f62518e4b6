//! The error for a row that a model has no answer to, by its own rules: the column, where one is to blame, and what is
//! wrong with it.

use std::fmt;

/// Why a row is refused. That is the caller's mistake: the model answers other rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowRefusal {
    /// The index of the column, if one is known to be to blame.
    pub column: Option<usize>,
    /// What the row or the column does wrong, as in `has 3, which is not one of the encoder's categories`.
    pub reason: String,
}

impl RowRefusal {
    /// The refusal of the value of a column.
    pub fn at(column: usize, reason: impl Into<String>) -> Self {
        Self { column: Some(column), reason: reason.into() }
    }

    /// The refusal of a whole row.
    pub fn of_row(reason: impl Into<String>) -> Self {
        Self { column: None, reason: reason.into() }
    }

    /// The refusal as one of the rows that were given, where `source` says which of their columns became the column.
    #[must_use]
    pub fn traced(self, source: impl FnOnce(usize) -> Option<usize>) -> Self {
        Self { column: self.column.and_then(source), ..self }
    }

    /// The refusal with the column's name.
    pub fn describe<T: AsRef<str>>(&self, names: &[T]) -> String {
        match self.column.and_then(|column| names.get(column)) {
            Some(name) => format!("feature {} {}", name.as_ref(), self.reason),
            None => format!("the row {}", self.reason),
        }
    }
}

impl fmt::Display for RowRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column {
            Some(column) => write!(f, "column {column} {}", self.reason),
            None => write!(f, "the row {}", self.reason),
        }
    }
}

impl std::error::Error for RowRefusal {}

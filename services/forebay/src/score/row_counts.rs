//! How many rows were answered, and what was wrong with the first that was not.

use forebay_contract::Problem;

/// Counts of a run or a part of it.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct RowCounts {
    /// Rows read.
    pub(crate) rows: u64,
    /// Rows answered with an error, part of `rows`.
    pub(crate) failed: u64,
    /// Line (or number, in a file of columns) and problem of the first failed row.
    pub(crate) first: Option<(u64, Problem)>,
}

impl RowCounts {
    /// Counts a row that has no prediction.
    pub(super) fn fail(&mut self, number: u64, problem: &Problem) {
        self.failed += 1;
        self.first.get_or_insert_with(|| (number, problem.clone()));
    }

    /// Adds the counts of a later part.
    pub(super) fn add(&mut self, later: Self) {
        self.rows += later.rows;
        self.failed += later.failed;
        self.first = self.first.take().or(later.first);
    }
}

//! How many rows were answered, and what was wrong with the first that was not.

use forebay_contract::Problem;

/// Counts of a run or a part of it.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Tally {
    /// Rows read.
    pub(crate) rows: u64,
    /// Of them, rows answered with an error.
    pub(crate) failed: u64,
    /// Line and problem of the first of those.
    pub(crate) first: Option<(u64, Problem)>,
}

impl Tally {
    /// Counts a row that has no prediction.
    pub(super) fn fail(&mut self, line: u64, problem: &Problem) {
        self.failed += 1;
        self.first.get_or_insert_with(|| (line, problem.clone()));
    }

    /// Adds what was counted after this.
    pub(super) fn add(&mut self, later: Self) {
        self.rows += later.rows;
        self.failed += later.failed;
        self.first = self.first.take().or(later.first);
    }
}

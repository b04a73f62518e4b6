//! The rows of a chunk by the output that they want, and the model's answers to them.

use forebay_contract::{ErrorCode, Problem};
use forebay_model::{ModelError, Output, Scores, Value};

use super::scorer::{invalid, unavailable};

/// Rows that want the same output, as the model takes them, row-major.
#[derive(Debug)]
pub(super) struct OutputGroup {
    pub output: Output,
    /// Whether the rows are in `values` and not in `numbers`.
    pub typed: bool,
    pub numbers: Vec<f64>,
    pub values: Vec<Value>,
    /// The number of rows.
    pub count: usize,
}

/// Where the answer to a row is.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowPlace {
    pub group: usize,
    /// Position among the rows of the group.
    pub index: usize,
}

/// The answers to the rows of a group.
#[derive(Debug)]
pub(super) enum Answers {
    /// One call answered all rows.
    Whole(Scores),
    /// One call for each row.
    Each(Vec<Result<Scores, Problem>>),
}

impl OutputGroup {
    /// No rows yet, with room for `room` values.
    pub(super) fn new(output: Output, typed: bool, room: usize) -> Self {
        let (numbers, values) = if typed { (0, room) } else { (room, 0) };
        Self { output, typed, numbers: Vec::with_capacity(numbers), values: Vec::with_capacity(values), count: 0 }
    }
}

impl Answers {
    /// Predicts rows with `predict`, all at once or, if that fails, one by one, so that one row does not fail its neighbours.
    pub(super) fn of<T>(width: usize, rows: &[T], predict: impl Fn(&[T]) -> Result<Scores, ModelError>) -> Self {
        if let Ok(scores) = predict(rows) {
            return Self::Whole(scores);
        }
        let each = rows.chunks_exact(width.max(1)).map(|row| {
            predict(row).map_err(|error| match error {
                ModelError::Execution(why) => unavailable(&why),
                error => invalid(error.to_string()),
            })
        });
        Self::Each(each.collect())
    }

    /// The scores that hold the answer to row `index`, and its position in them.
    ///
    /// # Errors
    /// That of the row.
    pub(super) fn of_row(&self, index: usize) -> Result<(&Scores, usize), Problem> {
        let too_few = || Problem::new(ErrorCode::Internal, "the model gave too few answers");
        match self {
            Self::Whole(scores) if index < scores.len() => Ok((scores, index)),
            Self::Whole(_) => Err(too_few()),
            Self::Each(rows) => match rows.get(index) {
                Some(Ok(scores)) if scores.len() == 1 => Ok((scores, 0)),
                Some(Err(problem)) => Err(problem.clone()),
                _ => Err(too_few()),
            },
        }
    }
}

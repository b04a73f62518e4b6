//! The rows of a chunk by the output that they want, and the model's answers to them.

use forebay_contract::{ErrorCode, Problem};
use forebay_model::{LoadedVersion, ModelError, Output, Scores, Value};
use forebay_prediction::no_answer;

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

/// The answers to the rows of a group: as few calls as there are rows that fail, and the parts between them.
#[derive(Debug, Default)]
pub(super) struct Answers(Vec<Part>);

/// Rows that one call answered, or one row that has no answer.
#[derive(Debug)]
struct Part {
    /// The index of the first row.
    first: usize,
    scores: Result<Scores, Problem>,
}

impl OutputGroup {
    /// No rows yet, with room for `room` values.
    pub(super) fn new(output: Output, typed: bool, room: usize) -> Self {
        let (numbers, values) = if typed { (0, room) } else { (room, 0) };
        Self { output, typed, numbers: Vec::with_capacity(numbers), values: Vec::with_capacity(values), count: 0 }
    }
}

impl Answers {
    /// Predicts rows with `predict`, all at once or, if that fails, each half by itself, so that one row does not fail its
    /// neighbours.
    pub(super) fn of<T>(
        loaded: &LoadedVersion,
        rows: &[T],
        predict: impl Fn(&[T]) -> Result<Scores, ModelError>,
    ) -> Self {
        let mut answers = Self::default();
        answers.add(loaded, (0, rows), &predict);
        answers
    }

    fn add<T>(
        &mut self,
        loaded: &LoadedVersion,
        (first, rows): (usize, &[T]),
        predict: &impl Fn(&[T]) -> Result<Scores, ModelError>,
    ) {
        let width = loaded.model.signature().width().max(1);
        let count = rows.len() / width;
        let scores = match predict(rows) {
            Ok(scores) => Ok(scores),
            Err(_) if count > 1 => {
                let (head, tail) = rows.split_at(count / 2 * width);
                self.add(loaded, (first, head), predict);
                return self.add(loaded, (first + count / 2, tail), predict);
            }
            Err(error) => Err(match (loaded.refusal(&error), error) {
                (Some(why), _) => no_answer(format_args!("v{}", loaded.version), &why),
                (None, ModelError::Execution(why)) => unavailable(&why),
                (None, error) => invalid(error.to_string()),
            }),
        };
        self.0.push(Part { first, scores });
    }

    /// The scores that hold the answer to row `index`, and its position in them.
    ///
    /// # Errors
    /// That of the row.
    pub(super) fn of_row(&self, index: usize) -> Result<(&Scores, usize), Problem> {
        let too_few = || Problem::new(ErrorCode::Internal, "the model gave too few answers");
        let at = self.0.partition_point(|part| part.first <= index).checked_sub(1);
        let part = at.and_then(|at| self.0.get(at)).ok_or_else(too_few)?;
        let scores = part.scores.as_ref().map_err(Problem::clone)?;
        if index - part.first < scores.len() { Ok((scores, index - part.first)) } else { Err(too_few()) }
    }
}

//! The one trait every loaded model implements, whatever file it came from.

use crate::{Rows, Scores, Signature};

/// A model ready to answer: batch in, batch out, shared between threads behind an `Arc`.
pub trait Model: Send + Sync + std::fmt::Debug {
    /// Input names and width, task, labels.
    fn signature(&self) -> &Signature;

    /// Answers every row, in order. An empty batch gives empty scores.
    ///
    /// # Errors
    /// [`ModelError::Width`] when the rows are not `signature().width()` wide, [`ModelError::Execution`] when
    /// the backend fails.
    fn predict(&self, rows: Rows<'_>) -> Result<Scores, ModelError>;

    /// Names of the compiled plan's operations in order, for people (`forebay models`).
    fn ops(&self) -> Vec<String>;
}

/// Why a batch could not be answered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    #[error("{values} values are no whole number of rows of width {width}")]
    Ragged { width: usize, values: usize },
    #[error("rows have {got} values, the model takes {expected}")]
    Width { expected: usize, got: usize },
    #[error("the model cannot answer: {0}")]
    Execution(String),
}

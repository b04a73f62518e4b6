//! The trait that every loaded model implements, whatever its file format.

use crate::{Rows, Scores, Signature};

/// A model that is ready to predict: a batch of rows in, a batch of scores out. Threads share it behind an `Arc`.
pub trait Model: Send + Sync + std::fmt::Debug {
    /// The names and number of inputs, the task and the labels.
    fn signature(&self) -> &Signature;

    /// Predicts every row, in order. The scores of an empty batch are empty.
    ///
    /// # Errors
    /// [`ModelError::Width`] when the rows are not `signature().width()` wide, [`ModelError::Execution`] when
    /// the backend fails.
    fn predict(&self, rows: Rows<'_>) -> Result<Scores, ModelError>;

    /// The names of the compiled plan's operations, in order. `forebay models` shows them.
    fn ops(&self) -> Vec<String>;
}

/// Why a batch could not be predicted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    #[error("{values} values do not make whole rows of width {width}")]
    Ragged { width: usize, values: usize },
    #[error("rows have {got} values, the model takes {expected}")]
    Width { expected: usize, got: usize },
    #[error("the model cannot answer: {0}")]
    Execution(String),
}

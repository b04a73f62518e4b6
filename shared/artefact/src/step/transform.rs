//! The trait of the transformers that are not variants of [`super::Step`] themselves.

use std::fmt::Debug;

use super::Missing;
use crate::matrix::Matrix;

/// A fitted transformer of rows. Its widths were checked when it was built.
pub trait Transform: Send + Sync + Debug {
    /// Number of values of a row after it.
    fn width(&self) -> usize;

    /// Its name, for messages.
    fn name(&self) -> String;

    /// How it treats missing values.
    fn missing(&self) -> Missing;

    /// Transforms every row of `m`.
    ///
    /// # Errors
    /// A text that names a value that the transformer refuses.
    fn apply(&self, m: &mut Matrix) -> Result<(), String>;
}

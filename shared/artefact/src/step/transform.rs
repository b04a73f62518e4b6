//! The trait of the transformers that are not variants of [`super::Step`] themselves.

use std::fmt::Debug;
use std::sync::Arc;

use super::Missing;
use crate::matrix::Matrix;
use crate::{ColumnKind, Frame};

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

    /// Transforms rows in any form; by default they become dense numbers.
    ///
    /// # Errors
    /// As [`Transform::apply`], and for text that is no number.
    fn apply_frame(&self, frame: Frame) -> Result<Frame, String> {
        let mut m = frame.into_numbers()?;
        self.apply(&mut m)?;
        Ok(Frame::Numbers(m))
    }

    /// What the values of its input columns are, one per column; `None` when all are numbers.
    fn takes(&self) -> Option<Vec<ColumnKind>> {
        None
    }

    /// Whether its output is sparse.
    fn gives_sparse(&self) -> bool {
        false
    }

    /// Whether a missing value is one of an encoder's categories.
    fn knows_missing(&self) -> bool {
        false
    }

    /// An imputer of text that leaves missing values as they are; `None` for anything else.
    fn keeping_none(&self) -> Option<Arc<dyn Transform>> {
        None
    }
}

/// [`Transform::apply`] of a transformer that works on rows in any form.
pub(super) fn apply_as_frame(transform: &impl Transform, m: &mut Matrix) -> Result<(), String> {
    *m = transform.apply_frame(Frame::Numbers(std::mem::take(m)))?.into_numbers()?;
    Ok(())
}

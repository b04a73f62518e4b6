//! The trait of the transformers that are not variants of [`super::Step`] themselves.

use std::fmt::Debug;
use std::sync::Arc;

use super::Missing;
use crate::matrix::Matrix;
use crate::{ColumnKind, Frame, RowRefusal, Value};

/// A fitted transformer of rows. Its widths were checked when it was built.
pub trait Transform: Send + Sync + Debug {
    /// Number of values of a row after it.
    fn width(&self) -> usize;

    /// Its name, for messages.
    fn name(&self) -> String;

    /// How it treats missing values in columns that it treats alike.
    fn missing(&self) -> Missing;

    /// The input column that an output column is the value of, in whatever unit; `None` when it is made of several.
    fn source(&self, _column: usize) -> Option<usize> {
        None
    }

    /// Whether values that it takes are the same after it, where [`Transform::source`] says.
    fn keeps_values(&self) -> bool {
        false
    }

    /// A value for each input column that it takes, where not every value will do; empty where any number does.
    fn sample(&self) -> Vec<Option<Value>> {
        Vec::new()
    }

    /// Whether finite values of a row may become one that is not finite: the function has no value there.
    fn is_partial(&self) -> bool {
        false
    }

    /// Whether each of `width` input columns may be missing, where those that it gives may be as in `later`.
    fn missing_columns(&self, width: usize, later: &[bool]) -> Vec<bool> {
        match self.missing() {
            Missing::Gone => vec![true; width],
            Missing::Refused => vec![false; width],
            // each column becomes one
            Missing::Pass if later.len() == width => later.to_vec(),
            Missing::Pass => vec![later.iter().all(|may_be| *may_be); width],
        }
    }

    /// Transforms every row of `m`.
    ///
    /// # Errors
    /// A row that has a value which the transformer refuses.
    fn apply(&self, m: &mut Matrix) -> Result<(), RowRefusal>;

    /// Transforms rows in any form; by default they become dense numbers.
    ///
    /// # Errors
    /// As [`Transform::apply`], and for text that is no number.
    fn apply_frame(&self, frame: Frame) -> Result<Frame, RowRefusal> {
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

    /// Whether its output was sparse when it was fitted on rows that were sparse or not.
    fn sparse_after(&self, _sparse: bool) -> bool {
        self.gives_sparse()
    }

    /// Whether zeros that sparse rows do not hold are treated in another way than those that they do.
    fn tells_absent(&self) -> bool {
        false
    }

    /// Whether its sparse output had zeros of its own among its values.
    fn stores_zeros(&self) -> bool {
        false
    }

    /// For each input column of an encoder, whether a missing value is one of its categories; empty for anything else.
    fn knows_missing(&self) -> Vec<bool> {
        Vec::new()
    }

    /// An imputer of text that leaves missing values as they are in some of its output columns; `None` for anything else.
    fn keeping_none(&self, _columns: &[bool]) -> Option<Arc<dyn Transform>> {
        None
    }
}

/// [`Transform::apply`] of a transformer that works on rows in any form.
pub(super) fn apply_as_frame(transform: &impl Transform, m: &mut Matrix) -> Result<(), RowRefusal> {
    *m = transform.apply_frame(Frame::Numbers(std::mem::take(m)))?.into_numbers()?;
    Ok(())
}

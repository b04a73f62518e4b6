//! The form of rows between steps: dense or sparse.

use super::{Norm, Step, source};
use crate::{Frame, RowRefusal};

/// Which form rows have between steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowForm {
    /// The one that costs least, before estimators for which an absent value of a sparse row is a zero.
    Cheapest,
    /// Sparse exactly where the fitted steps gave sparse rows, before estimators for which an absent value is missing.
    AsFitted,
}

/// Applies `steps` in order to rows in any form.
///
/// # Errors
/// As [`super::apply_all`], and for text where a step takes numbers.
pub fn apply_frame(steps: &[Step], mut frame: Frame, form: RowForm) -> Result<Frame, RowRefusal> {
    for (at, step) in steps.iter().enumerate() {
        let sparse = matches!(frame, Frame::Sparse(_));
        let done = step.apply_frame(frame, form);
        frame = done.map_err(|refusal| refusal.traced(|column| source(&steps[..at], column)))?;
        if form == RowForm::AsFitted {
            frame = match (frame, step.sparse_after(sparse)) {
                (frame, true) => Frame::Sparse(frame.into_sparse()?),
                (Frame::Sparse(sparse), false) => Frame::Numbers(Frame::Sparse(sparse).into_numbers()?),
                (frame, false) => frame,
            };
        }
    }
    Ok(frame)
}

/// Whether any rows between `steps` were sparse when they were fitted on dense rows.
pub fn any_sparse(steps: &[Step]) -> bool {
    let mut sparse = false;
    steps.iter().any(|step| {
        sparse = step.sparse_after(sparse);
        sparse
    })
}

/// The name of a step whose sparse output had zeros among its values, which this crate leaves out.
pub fn stores_zeros(steps: &[Step]) -> Option<String> {
    steps.iter().find_map(|step| match step {
        Step::Other(transform) => transform.stores_zeros().then(|| transform.name()),
        Step::Columns(columns) => columns.parts.iter().find_map(|part| stores_zeros(&part.steps)),
        _ => None,
    })
}

/// Whether the rows that `steps` give were sparse when they were fitted on rows that were sparse or not.
pub(crate) fn ends_sparse(steps: &[Step], sparse: bool) -> bool {
    steps.iter().fold(sparse, |sparse, step| step.sparse_after(sparse))
}

/// Whether a step treats zeros that sparse rows do not hold in another way than those that they do.
pub fn tells_absent(steps: &[Step]) -> bool {
    steps.iter().any(|step| match step {
        Step::Other(transform) => transform.tells_absent(),
        Step::Columns(columns) => columns.parts.iter().any(|part| tells_absent(&part.steps)),
        _ => false,
    })
}

impl Step {
    /// Whether the rows after the step were sparse when it was fitted on rows that were sparse or not.
    fn sparse_after(&self, sparse: bool) -> bool {
        match self {
            // those that change values, or choose among them, leave rows as they are
            Self::Scale { .. } | Self::Impute(_) | Self::Normalize(_) | Self::Polynomial(_) => sparse,
            Self::MinMax { .. } | Self::Ordinal(_) => false,
            Self::OneHot(one_hot) => one_hot.sparse,
            Self::Columns(columns) => columns.is_sparse(sparse),
            Self::Other(transform) => transform.sparse_after(sparse),
        }
    }

    fn apply_frame(&self, frame: Frame, form: RowForm) -> Result<Frame, RowRefusal> {
        Ok(match (self, frame) {
            (Self::Other(transform), frame) => transform.apply_frame(frame)?,
            (Self::Columns(columns), frame) => columns.apply_frame(&frame, form)?,
            (Self::Scale { center: None, scale, clip }, Frame::Sparse(mut sparse)) => {
                if let Some(scale) = scale {
                    sparse.values.iter_mut().zip(&sparse.columns).for_each(|(v, c)| *v /= scale[*c as usize]);
                }
                super::clip_row(&mut sparse.values, *clip);
                Frame::Sparse(sparse)
            }
            (Self::Normalize(norm), Frame::Sparse(mut sparse)) => {
                sparse.for_each_row(|_, values| Norm::scale(*norm, values));
                Frame::Sparse(sparse)
            }
            (Self::OneHot(one_hot), frame) if one_hot.gives_sparse() => {
                Frame::Sparse(one_hot.apply_sparse(&frame.into_numbers()?)?)
            }
            (Self::Impute(impute), Frame::Sparse(sparse)) if impute.takes_sparse() => {
                Frame::Sparse(impute.apply_sparse(&sparse))
            }
            (step, frame) => {
                let mut m = frame.into_numbers()?;
                step.apply(&mut m)?;
                Frame::Numbers(m)
            }
        })
    }
}

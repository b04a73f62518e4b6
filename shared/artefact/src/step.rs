//! One fitted preprocessing step, computed in f64 in scikit-learn's order of operations, so that the results are
//! bit-identical.

mod bins;
mod columns;
mod encode;
mod encoder;
mod factorise;
mod features;
mod form;
mod function;
mod impute;
mod kernel;
mod neighbours;
mod partition;
mod polynomial;
mod power;
mod project;
mod sample;
mod spline;
mod topics;
mod transform;
mod typed;
mod vectorize;
mod vocabulary;

use std::sync::Arc;

pub use bins::{Bins, Quantiles, interpolate};
use columns::leading_columns;
pub use columns::{Columns, Part};
pub use encode::{Category, OneHot, Ordinal, Unknown};
pub use encoder::{Coding, Encoder, TargetEncodings};
pub use factorise::{Descent, Factors};
pub use features::{Pool, Pooling, Shifted, Sketch};
pub(crate) use form::ends_sparse;
pub use form::{RowForm, any_sparse, apply_frame, stores_zeros, tells_absent};
pub use function::{EachValue, Function, Rule};
pub use impute::Impute;
pub use kernel::{Centring, Kernel, Similarities};
pub use neighbours::{Guess, ImputeIteratively, ImputeNearest, Round};
pub use polynomial::Polynomial;
pub use power::Power;
pub use project::{Indicate, OutputCurve, Projection, Select};
pub use sample::sample;
pub use spline::{Curve, Extrapolation, Splines};
pub(crate) use topics::MAX_ROUNDS;
pub use topics::Topics;
pub use transform::Transform;
pub use typed::{Categories, ImputeValues};
pub use vectorize::{Terms, Vectorizer, Weigh, Weights};
pub use vocabulary::Vocabulary;

use crate::matrix::Matrix;
use crate::{ColumnKind, RowRefusal};

/// A fitted step with everything it needs to transform rows. Widths were checked when it was built.
#[derive(Debug, Clone)]
pub enum Step {
    /// `(x - center) / scale`, then clipped, each optional: StandardScaler, RobustScaler, MaxAbsScaler.
    Scale {
        center: Option<Vec<f64>>,
        scale: Option<Vec<f64>>,
        clip: Option<(f64, f64)>,
    },
    /// `x * scale + min`, then clipped: MinMaxScaler.
    MinMax {
        scale: Vec<f64>,
        min: Vec<f64>,
        clip: Option<(f64, f64)>,
    },
    Impute(Impute),
    /// Scales rows to length one: Normalizer.
    Normalize(Norm),
    Polynomial(Polynomial),
    OneHot(OneHot),
    Ordinal(Ordinal),
    Columns(Columns),
    Other(Arc<dyn Transform>),
}

/// The norm that is the length of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Norm {
    L1,
    L2,
    Max,
}

/// How a step treats missing values (NaN).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// They are imputed: the output has none.
    Gone,
    /// They pass through.
    Pass,
    /// They are rejected, as in scikit-learn.
    Refused,
}

/// How `steps`, which take `width` values, together treat missing values.
pub fn missing_after(steps: &[Step], width: usize) -> Missing {
    let after = steps.iter().fold(width, |width, step| step.output_width(width));
    let all = |later: bool| missing_columns(steps, width, &vec![later; after]).iter().all(|may_be| *may_be);
    if all(false) {
        Missing::Gone
    } else if all(true) {
        Missing::Pass
    } else {
        Missing::Refused
    }
}

/// Whether each of the `width` input columns of `steps` may be missing, before something that lets the columns `then` be.
pub fn missing_columns(steps: &[Step], width: usize, then: &[bool]) -> Vec<bool> {
    widths(steps, width).rev().fold(then.to_vec(), |then, (step, width)| step.missing_columns(width, &then))
}

/// The steps, each with its input columns. There may be many, so that what follows does not descend by one for each.
fn widths(steps: &[Step], width: usize) -> impl DoubleEndedIterator<Item = (&Step, usize)> {
    let step = |before: &mut usize, step: &Step| Some(std::mem::replace(before, step.output_width(*before)));
    let widths: Vec<usize> = steps.iter().scan(width, step).collect();
    steps.iter().zip(widths)
}

/// Applies `steps` in order.
///
/// # Errors
/// A row with a value that a step does not know; its column is one of the rows before the first step.
pub fn apply_all(steps: &[Step], m: &mut Matrix) -> Result<(), RowRefusal> {
    steps.iter().enumerate().try_for_each(|(at, step)| {
        step.apply(m).map_err(|refusal| refusal.traced(|column| source(&steps[..at], column)))
    })
}

/// The column before `steps` that a column after them is the value of; `None` when it is made of several.
pub fn source(steps: &[Step], column: usize) -> Option<usize> {
    steps.iter().rev().try_fold(column, |column, step| step.source(column))
}

/// What the values of the `width` input columns of `steps` are, before something that takes `then`; `None` when all are
/// numbers.
pub fn takes(steps: &[Step], width: usize, then: Option<Vec<ColumnKind>>) -> Option<Vec<ColumnKind>> {
    // columns that pass through are what a later step takes
    let (leading, _, later) = leading_columns(steps, width);
    let then = match later.first() {
        None => then,
        Some(Step::Other(transform)) => transform.takes(),
        Some(_) => None,
    };
    leading.iter().rev().fold(then, |then, (columns, width)| columns.takes(*width, then))
}

/// Whether the input columns of `steps` are used at all; a column that no step reads need not be given.
pub fn reads(steps: &[Step], width: usize) -> Vec<bool> {
    let (leading, after, _) = leading_columns(steps, width);
    leading.iter().rev().fold(vec![true; after], |then, (columns, width)| columns.reads(*width, &then))
}

impl Step {
    /// Whether the rows after this step are sparse.
    pub fn gives_sparse(&self) -> bool {
        match self {
            Self::Other(transform) => transform.gives_sparse(),
            Self::Columns(columns) => columns.gives_sparse(),
            Self::OneHot(one_hot) => one_hot.gives_sparse(),
            _ => false,
        }
    }

    /// As [`Transform::source`].
    fn source(&self, column: usize) -> Option<usize> {
        match self {
            Self::Scale { .. } | Self::MinMax { .. } | Self::Normalize(_) | Self::Ordinal(_) => Some(column),
            Self::Impute(impute) => impute.kept.get(column).map(|(column, _)| *column),
            Self::Polynomial(_) | Self::OneHot(_) => None,
            Self::Columns(columns) => columns.source(column),
            Self::Other(transform) => transform.source(column),
        }
    }

    /// As [`Transform::keeps_values`].
    fn keeps_values(&self) -> bool {
        match self {
            Self::Impute(_) => true,
            Self::Other(transform) => transform.keeps_values(),
            _ => false,
        }
    }

    /// As [`Transform::is_partial`].
    pub fn is_partial(&self) -> bool {
        match self {
            Self::Columns(columns) => columns.is_partial(),
            Self::Other(transform) => transform.is_partial(),
            _ => false,
        }
    }

    /// Transforms every row of `m`.
    fn apply(&self, m: &mut Matrix) -> Result<(), RowRefusal> {
        match self {
            Self::Scale { center, scale, clip } => {
                for row in m.iter_mut() {
                    if let Some(center) = center {
                        row.iter_mut().zip(center).for_each(|(x, c)| *x -= c);
                    }
                    if let Some(scale) = scale {
                        row.iter_mut().zip(scale).for_each(|(x, s)| *x /= s);
                    }
                    clip_row(row, *clip);
                }
            }
            Self::MinMax { scale, min, clip } => {
                for row in m.iter_mut() {
                    row.iter_mut().zip(scale).for_each(|(x, s)| *x *= s);
                    row.iter_mut().zip(min).for_each(|(x, m)| *x += m);
                    clip_row(row, *clip);
                }
            }
            Self::Normalize(norm) => m.iter_mut().for_each(|row| norm.scale(row)),
            Self::Impute(impute) => impute.apply(m),
            Self::Polynomial(polynomial) => polynomial.apply(m),
            Self::OneHot(one_hot) => one_hot.apply(m)?,
            Self::Ordinal(ordinal) => ordinal.apply(m)?,
            Self::Columns(columns) => columns.apply(m)?,
            Self::Other(transform) => transform.apply(m)?,
        }
        Ok(())
    }

    /// Number of values of a row after this step, given `width` values before it.
    pub fn output_width(&self, width: usize) -> usize {
        match self {
            Self::Scale { .. } | Self::MinMax { .. } | Self::Normalize(_) | Self::Ordinal(_) => width,
            Self::Impute(impute) => impute.width(),
            Self::Polynomial(polynomial) => polynomial.width(),
            Self::OneHot(one_hot) => one_hot.width(),
            Self::Columns(columns) => columns.width(),
            Self::Other(transform) => transform.width(),
        }
    }

    /// Whether each of `width` input columns may be missing, where those that the step gives may be as in `later`.
    fn missing_columns(&self, width: usize, later: &[bool]) -> Vec<bool> {
        match self {
            Self::Scale { .. } | Self::MinMax { .. } => later.to_vec(),
            Self::Impute(impute) => vec![impute.missing_values() == Missing::Gone; width],
            Self::Normalize(_) | Self::Polynomial(_) => vec![false; width],
            Self::OneHot(one_hot) => one_hot.missing_columns(),
            Self::Ordinal(ordinal) => ordinal.missing_columns(later),
            Self::Columns(columns) => columns.missing_columns(width, later),
            Self::Other(transform) => transform.missing_columns(width, later),
        }
    }

    /// Name of the step, for messages.
    pub fn name(&self) -> String {
        match self {
            Self::Scale { .. } => "Scale".to_owned(),
            Self::MinMax { .. } => "MinMax".to_owned(),
            Self::Impute(_) => "Impute".to_owned(),
            Self::Normalize(norm) => format!("Normalize({norm:?})"),
            Self::Polynomial(polynomial) => format!("Polynomial({} terms)", polynomial.width()),
            Self::OneHot(one_hot) => format!("OneHot({} columns)", one_hot.width()),
            Self::Ordinal(_) => "Ordinal".to_owned(),
            Self::Columns(columns) => columns.name(),
            Self::Other(transform) => transform.name(),
        }
    }
}

/// Clips a value. Unlike `clamp` it does not panic, because the bounds come from a file, and NaN stays NaN.
fn clip_row(row: &mut [f64], clip: Option<(f64, f64)>) {
    if let Some((low, high)) = clip {
        row.iter_mut().filter(|x| !x.is_nan()).for_each(|x| *x = x.max(low).min(high));
    }
}

impl Norm {
    fn scale(self, row: &mut [f64]) {
        let length = match self {
            Self::L1 => row.iter().map(|x| x.abs()).sum(),
            Self::L2 => row.iter().map(|x| x * x).sum::<f64>().sqrt(),
            Self::Max => row.iter().map(|x| x.abs()).fold(0.0, f64::max),
        };
        // a row of zeros is not changed
        if length != 0.0 {
            row.iter_mut().for_each(|x| *x /= length);
        }
    }
}

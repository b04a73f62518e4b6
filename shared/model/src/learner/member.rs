//! What meta-estimators ask of their members.

use forebay_artefact::{ColumnKind, Frame};

use crate::plan::Plan;
use crate::{Model, ModelError};

/// The method of a member that is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Response {
    Predict,
    Probabilities,
    Decision,
    /// The probabilities, of two classes only that of the second.
    Positive,
}

/// The answers of a member, row-major, and how many there are in a row.
///
/// # Errors
/// When the member has no such method, or fails.
pub(crate) fn respond(plan: &Plan, method: Response, frame: Frame) -> Result<(usize, Vec<f64>), ModelError> {
    let rows = frame.rows();
    let lacks = |what: &str| ModelError::Execution(format!("a member has no {what}"));
    if method == Response::Decision {
        let answers = plan.decide(frame).ok_or_else(|| lacks("decision_function"))??;
        return Ok((answers.len() / rows.max(1), answers));
    }
    let scores = plan.score_frame(frame)?;
    if method == Response::Predict {
        return Ok((scores.outputs, scores.values));
    }
    if scores.probabilities.is_empty() {
        return Err(lacks("predict_proba"));
    }
    let width = scores.probabilities.len() / rows.max(1);
    if method == Response::Positive && width == 2 && scores.outputs == 1 {
        return Ok((1, scores.probabilities.chunks_exact(2).map(|p| p[1]).collect()));
    }
    Ok((width, scores.probabilities))
}

/// A member and the columns that it reads; all if `None`.
pub(crate) type Reader<'p> = (&'p Plan, Option<&'p [usize]>);

/// What the `width` columns of a meta-estimator are.
pub(crate) fn kinds_of(width: usize, members: &[Reader<'_>]) -> Option<Vec<ColumnKind>> {
    let mut kinds = vec![ColumnKind::Float; width];
    let mut typed = false;
    for (plan, columns) in members {
        for (i, column) in plan.columns().iter().enumerate() {
            let at = columns.map_or(Some(i), |columns| columns.get(i).copied());
            let Some(kind) = at.and_then(|at| kinds.get_mut(at)) else { continue };
            typed |= column.kind != ColumnKind::Float;
            if *kind == ColumnKind::Float {
                *kind = column.kind;
            }
        }
    }
    typed.then_some(kinds)
}

/// Which of the `width` columns of a meta-estimator may be missing: those that all members that read them let be.
pub(crate) fn missing_columns_of(width: usize, members: &[Reader<'_>]) -> Vec<bool> {
    let mut missing = vec![true; width];
    for (plan, columns) in members {
        for (i, may_be) in plan.missing_columns().into_iter().enumerate() {
            let at = columns.map_or(Some(i), |columns| columns.get(i).copied());
            if let Some(column) = at.and_then(|at| missing.get_mut(at)) {
                *column &= may_be;
            }
        }
    }
    missing
}

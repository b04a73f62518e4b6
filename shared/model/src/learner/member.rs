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

/// What the `width` columns of a meta-estimator are, given its members and the columns that each reads.
pub(crate) fn kinds_of<'p>(
    width: usize,
    members: impl Iterator<Item = (&'p Plan, Option<&'p [usize]>)>,
) -> Option<Vec<ColumnKind>> {
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

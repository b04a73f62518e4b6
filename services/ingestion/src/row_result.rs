//! What became of one row.

use forebay_contract::wire::outcome::Result as RowResult;
use forebay_contract::{Answer, ErrorCode, Failure, Outcome, Problem, Score};

/// The answer of a row and its score.
///
/// # Errors
/// Why the row has no prediction.
pub(crate) fn row_result(outcome: Outcome) -> Result<(Answer, Score), Problem> {
    match outcome.result {
        Some(RowResult::Answer(mut answer)) if answer.score.is_some() => {
            let score = answer.score.take().unwrap_or_default();
            Ok((answer, score))
        }
        Some(RowResult::Failure(Failure { code, message })) => Err(Problem::new(ErrorCode::parse(&code), message)),
        _ => Err(Problem::new(ErrorCode::Internal, "the mesh gave an answer without a result")),
    }
}

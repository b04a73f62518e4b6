//! What the cache learns from an answer.

use forebay_contract::{ErrorCode, Features, Item, Prediction, Score, wire::Failure};

/// What the cache is sent for a row: a score counts only for the version, and the content of it, that gave it.
pub(super) fn prediction(
    item: &Item<Features>,
    pinned: &Features,
    score_or_why: Result<Score, String>,
) -> Option<Item<Prediction>> {
    if pinned.key.is_empty() {
        return None;
    }
    let (score, failure) = match score_or_why {
        Ok(score) => (Some(score), None),
        Err(message) => (None, Some(Failure { code: ErrorCode::ModelUnavailable.as_str().to_owned(), message })),
    };
    let payload =
        Prediction { key: pinned.key.clone(), version: pinned.version, score, failure, model: pinned.model.clone() };
    Some(Item { context: item.context.clone(), parent_span: item.parent_span, attempt: item.attempt, payload })
}

//! Calling a model so that nothing it does reaches the stage but an answer for every row, or an error.

use std::panic::{AssertUnwindSafe, catch_unwind};

use forebay_model::{Model, Rows, Scores};

/// Answers `rows` (row-major) with `model`. A panic and a wrong number of answers are errors; whether the answers are
/// finite is left to the caller, who knows what to do with a part of them.
///
/// # Errors
/// A sentence for people.
pub(crate) fn predict(model: &dyn Model, rows: &[f64]) -> Result<Scores, String> {
    let view = Rows::new(model.signature().width(), rows).map_err(|error| error.to_string())?;
    // the model is read-only and its scratch space is rebuilt on each call, so a broken-off call leaves nothing behind
    let scores = guard(|| model.predict(view))?.map_err(|error| error.to_string())?;
    if scores.len() == view.len() {
        Ok(scores)
    } else {
        Err(format!("gave {} answers for {} rows", scores.len(), view.len()))
    }
}

/// Runs what a model does; a panic is an error.
///
/// # Errors
/// What the panic said.
pub(crate) fn guard<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| format!("panicked: {}", text(&*panic)))
}

/// Whether answer `row` can be given out.
pub(crate) fn finite(scores: &Scores, row: usize) -> bool {
    scores.values[row].is_finite() && scores.probabilities(row).iter().all(|value| value.is_finite())
}

fn text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

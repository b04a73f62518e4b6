//! Calls a model such that its caller gets an answer for every row or an error, whatever the model does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use forebay_contract::Features;
use forebay_model::{LoadedVersion, Output, Rows, Scores, TypedRows, Value};

use crate::row_batch::BatchView;

/// The variable by which tests let this process end without warning when a row has this value.
const TEST_ABORT: &str = "FOREBAY_TEST_ABORT_ON";

/// Why rows have no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CallError {
    /// The version has no answer to a row, by its own rules, and names it and the column. Other rows have one.
    Refused(String),
    /// The version is at fault, or has nothing to do with such rows.
    Failed(String),
}

impl CallError {
    /// What happened, for a message.
    pub(crate) fn into_text(self) -> String {
        match self {
            Self::Refused(why) | Self::Failed(why) => why,
        }
    }
}

/// Ends the process if a test asks for it.
pub(crate) fn abort_for_test(rows: &[&Features]) {
    static ABORT_ON: LazyLock<Option<f64>> = LazyLock::new(|| std::env::var_os(TEST_ABORT)?.to_str()?.parse().ok());
    if let Some(value) = *ABORT_ON
        && rows.iter().any(|row| row.raw.iter().any(|feature| feature.to_bits() == value.to_bits()))
    {
        std::process::abort();
    }
}

/// Answers `rows` (row-major) with the model of a version, so that the scores have `output`. A panic is an error, and so
/// is a wrong number of answers. Whether they are finite is left to the caller, which may use some of them.
///
/// # Errors
/// The error or panic of the model.
pub(crate) fn predict(loaded: &LoadedVersion, rows: BatchView<'_>, output: Output) -> Result<Scores, CallError> {
    let model = &*loaded.model;
    let width = model.signature().width();
    let len = rows.len(width);
    // the model is read-only and rebuilds its scratch space on each call, so a call that panicked leaves nothing behind
    let scores = guard(|| match (rows, output) {
        (BatchView::Numbers(values), Output::Predict | Output::PredictProba) => {
            model.predict(Rows::new(width, values)?)
        }
        (BatchView::Numbers(values), _) => {
            let values: Vec<Value> = values.iter().copied().map(Value::from).collect();
            model.predict_output(TypedRows::new(width, &values)?, output)
        }
        (BatchView::Values(values), Output::Predict) => model.predict_typed(TypedRows::new(width, values)?),
        (BatchView::Values(values), _) => model.predict_output(TypedRows::new(width, values)?, output),
    });
    let scores = scores.map_err(CallError::Failed)?.map_err(|error| match loaded.refusal(&error) {
        Some(why) => CallError::Refused(why),
        None => CallError::Failed(error.to_string()),
    })?;
    match scores.len() == len {
        true => Ok(scores),
        false => Err(CallError::Failed(format!("gave {} answers for {len} rows", scores.len()))),
    }
}

/// Runs code of a model and turns a panic into an error.
///
/// # Errors
/// The message of the panic.
pub(crate) fn guard<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| format!("panicked: {}", text(&*panic)))
}

/// Whether all numbers of the answer to `row` are finite.
pub(crate) fn finite(scores: &Scores, row: usize) -> bool {
    let others = scores.probabilities(row).iter().chain(scores.decision(row));
    scores.row(row).iter().chain(others).all(|value| value.is_finite())
}

fn text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

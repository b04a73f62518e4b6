//! The rules that a row has to satisfy, and the error messages for rows that do not.

mod convert;
mod near_names;
mod rules;
mod shape;

pub use convert::{ConversionError, convert, convert_cell};
pub use near_names::near_name;
pub use rules::RowRules;
pub use shape::{CheckedRow, RowShape};

use forebay_contract::{ErrorCode, Problem};

/// Largest number of names in one message; a model may have thousands of features.
pub(crate) const NAMES_LISTED: usize = 12;
/// Largest number of characters that a message repeats of a client's text.
const QUOTED_CHARS: usize = 64;

pub(crate) fn invalid(message: String) -> Problem {
    Problem::new(ErrorCode::InvalidFeatures, message)
}

/// A client's text in quotes, cut after [`QUOTED_CHARS`].
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests;

//! Text as Python and scikit-learn's vectorisers see it.

mod characters;
mod pattern;
mod ranges;
pub(crate) mod stop_words;
mod tokens;

pub use characters::{is_digit, is_space, is_word, lower, strip_accents, to_ascii};
pub use pattern::Pattern;
pub use tokens::{Accents, Analyzer, Tokens};

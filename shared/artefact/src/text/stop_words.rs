//! The stop words that scikit-learn calls `english`.

/// One a line, sorted.
const ENGLISH: &str = include_str!("english.txt");

/// The stop words.
pub(crate) fn english() -> impl Iterator<Item = &'static str> {
    ENGLISH.lines()
}

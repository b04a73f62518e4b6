//! What a visitor remembers of the place where it stopped: serde's errors carry a sentence and a position only.

use std::fmt;

use forebay_contract::{ErrorCode, Problem};
use serde::de::Error;

use super::Rejected;

/// Filled in by whoever stops first.
#[derive(Debug)]
pub(super) struct Watch {
    /// Most rows of a request.
    pub max_rows: usize,
    /// The client's label, once it was read.
    pub request_id: Option<String>,
    problem: Option<Problem>,
    place: Option<String>,
}

/// A value of a row, as errors name it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'n> {
    /// Position of the row when there are many.
    pub row: Option<usize>,
    /// Where in the row.
    pub value: At<'n>,
}

/// A value by its position or its name, or the row itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum At<'n> {
    Row,
    Index(usize),
    Name(&'n str),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("features")?;
        if let Some(row) = self.row {
            write!(f, "[{row}]")?;
        }
        match self.value {
            At::Row => Ok(()),
            At::Index(index) => write!(f, "[{index}]"),
            At::Name(name) => write!(f, ".{}", Short(name)),
        }
    }
}

/// A client's text in an error message: as much as helps, and nothing that breaks a line of a log.
pub(super) struct Short<'t>(pub &'t str);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 40;
        for letter in self.0.chars().take(MOST) {
            write!(f, "{}", if letter.is_control() { '\u{fffd}' } else { letter })?;
        }
        if self.0.chars().nth(MOST).is_some() { f.write_str("...") } else { Ok(()) }
    }
}

impl Watch {
    pub(super) fn new(max_rows: usize) -> Self {
        Self { max_rows, request_id: None, problem: None, place: None }
    }

    /// Stops with a problem; the first one stays.
    pub(super) fn refuse<E: Error>(&mut self, code: ErrorCode, message: impl fmt::Display) -> E {
        let problem = || Problem::new(code, message.to_string());
        self.problem.get_or_insert_with(problem);
        E::custom("refused")
    }

    /// Notes where the parser itself stopped, innermost place first.
    pub(super) fn stopped<E>(&mut self, place: impl fmt::Display, error: E) -> E {
        if self.problem.is_none() {
            self.place.get_or_insert_with(|| place.to_string());
        }
        error
    }

    /// Turns the parser's error into what the client is told.
    pub(super) fn reject(self, bytes: &[u8], error: &serde_json::Error) -> Rejected {
        let Self { request_id, problem, place, .. } = self;
        if let Some(problem) = problem {
            return Rejected { problem, request_id, undecodable: false };
        }
        let place = place.unwrap_or_default();
        if !place.is_empty() && !error.is_eof() {
            let what = not_finite(bytes, error)
                .map(|word| format!("{place}: {word} is not a finite number; null stands for a missing value"))
                .or_else(|| {
                    let over = error.to_string().starts_with("number out of range");
                    over.then(|| format!("{place}: the number is out of the range of a 64-bit float"))
                });
            if let Some(message) = what {
                let problem = Problem::new(ErrorCode::InvalidFeatures, message);
                return Rejected { problem, request_id, undecodable: false };
            }
        }
        let near = if place.is_empty() { String::new() } else { format!("{place}: ") };
        let kind = if error.is_data() { "" } else { "not JSON: " };
        let problem = Problem::new(ErrorCode::InvalidRequest, format!("{near}{kind}{error}"));
        Rejected { problem, request_id, undecodable: true }
    }
}

/// The word at which the parser stopped, if it is one of those that writers use for numbers JSON does not have.
fn not_finite<'b>(bytes: &'b [u8], error: &serde_json::Error) -> Option<&'b str> {
    let line = bytes.split(|byte| *byte == b'\n').nth(error.line().checked_sub(1)?)?;
    let word = |byte: &u8| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'+');
    let at = error.column().saturating_sub(1).min(line.len());
    let start = line[..at].iter().rposition(|byte| !word(byte)).map_or(0, |before| before + 1);
    let end = line[at..].iter().position(|byte| !word(byte)).map_or(line.len(), |length| at + length);
    let found = std::str::from_utf8(line.get(start..end)?).ok()?;
    let bare = found.trim_start_matches(['-', '+']).to_ascii_lowercase();
    matches!(bare.as_str(), "nan" | "inf" | "infinity").then_some(found)
}

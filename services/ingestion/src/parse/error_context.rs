//! What a visitor records about an error: serde's own errors carry only a message and a position.

use std::fmt;

use forebay_contract::{ErrorCode, Problem};
use serde::de::Error;

use super::{Rejected, RowLimit};

/// The first error and its path. One value is passed through all visitors of a request.
#[derive(Debug)]
pub(super) struct ErrorContext {
    /// Maximum number of rows in one request.
    pub limit: RowLimit,
    /// The request id, once it has been read.
    pub request_id: Option<String>,
    problem: Option<Problem>,
    path: Option<String>,
}

/// The field that holds the rows.
pub(crate) const FEATURES: &str = "features";

/// The path of a value, as errors show it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ValuePath<'n> {
    /// The field of the request: `features`, or `params`.
    pub field: &'static str,
    /// Position of the row, if there are many.
    pub row: Option<usize>,
    /// The position in the row.
    pub value: PathEnd<'n>,
}

/// The position or name of a value, or the row itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum PathEnd<'n> {
    Row,
    Index(usize),
    Name(&'n str),
}

impl fmt::Display for ValuePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.field)?;
        if let Some(row) = self.row {
            write!(f, "[{row}]")?;
        }
        match self.value {
            PathEnd::Row => Ok(()),
            PathEnd::Index(index) => write!(f, "[{index}]"),
            PathEnd::Name(name) => write!(f, ".{}", Excerpt(name)),
        }
    }
}

/// The start of a client's text in an error message, without control characters, which could break log lines.
pub(super) struct Excerpt<'t>(pub &'t str);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX_CHARS: usize = 40;
        for letter in self.0.chars().take(MAX_CHARS) {
            write!(f, "{}", if letter.is_control() { '\u{fffd}' } else { letter })?;
        }
        if self.0.chars().nth(MAX_CHARS).is_some() { f.write_str("...") } else { Ok(()) }
    }
}

impl ErrorContext {
    pub(super) fn new(limit: RowLimit) -> Self {
        Self { limit, request_id: None, problem: None, path: None }
    }

    /// Records a problem, unless there is one already, and returns an error that stops the parser.
    pub(super) fn fail<E: Error>(&mut self, code: ErrorCode, message: impl fmt::Display) -> E {
        let problem = || Problem::new(code, message.to_string());
        self.problem.get_or_insert_with(problem);
        E::custom("invalid request")
    }

    /// Records the path at which the JSON parser itself failed. The innermost path is recorded first and kept.
    pub(super) fn note_path<E>(&mut self, path: impl fmt::Display, error: E) -> E {
        if self.problem.is_none() {
            self.path.get_or_insert_with(|| path.to_string());
        }
        error
    }

    /// The message of the recorded problem.
    pub(super) fn into_message(self) -> Option<String> {
        self.problem.map(|problem| problem.message)
    }

    /// Converts the error of the parser into the answer for the client.
    pub(super) fn into_rejected(self, bytes: &[u8], error: &serde_json::Error) -> Rejected {
        let Self { request_id, problem, path, .. } = self;
        if let Some(problem) = problem {
            return Rejected { problem, request_id, undecodable: false };
        }
        let path = path.unwrap_or_default();
        if !path.is_empty() && !error.is_eof() {
            let what = not_finite(bytes, error)
                .map(|word| format!("{path}: {word} is not a finite number; use null for a missing value"))
                .or_else(|| {
                    let over = error.to_string().starts_with("number out of range");
                    over.then(|| format!("{path}: the number is out of the range of a 64-bit float"))
                });
            if let Some(message) = what {
                let problem = Problem::new(ErrorCode::InvalidFeatures, message);
                return Rejected { problem, request_id, undecodable: false };
            }
        }
        if let Some(schema_id) = confluent_schema(bytes) {
            let message = format!(
                "not JSON: the wire format of Confluent's serializers (schema id {schema_id}); send JSON without it, or set \
                 schemas.registry for requests over Kafka"
            );
            let problem = Problem::new(ErrorCode::InvalidRequest, message);
            return Rejected { problem, request_id, undecodable: true };
        }
        let near = if path.is_empty() { String::new() } else { format!("{path}: ") };
        let kind = if error.is_data() { "" } else { "not JSON: " };
        let problem = Problem::new(ErrorCode::InvalidRequest, format!("{near}{kind}{error}"));
        Rejected { problem, request_id, undecodable: true }
    }
}

/// The schema id, if the bytes begin as those of Confluent's serializers: a zero and four bytes of the id.
pub(crate) fn confluent_schema(bytes: &[u8]) -> Option<u32> {
    let [0, id @ ..] = bytes else { return None };
    id.first_chunk().map(|id| u32::from_be_bytes(*id))
}

/// The word at which the parser failed, if it is a common spelling of a number that JSON cannot represent.
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

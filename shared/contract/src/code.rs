//! The error codes, the same over every protocol.

use std::fmt;

use crate::wire;

/// Why a request has no prediction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// The body is not JSON, or a field is unknown (HTTP) or has the wrong type.
    InvalidRequest,
    /// A row has the wrong width or a wrong name, or a value is missing without a rule, not finite or out of range.
    InvalidFeatures,
    /// The credentials are missing or wrong.
    Unauthorized,
    /// The credentials do not allow this request.
    Forbidden,
    /// The registry has no such model.
    UnknownModel,
    /// The `Idempotency-Key` was used with another payload.
    IdempotencyConflict,
    /// The body, the number of rows or a record exceeds its limit.
    PayloadTooLarge,
    /// The body is compressed in a way that is not supported.
    UnsupportedMediaType,
    /// The bound on unfinished work is reached.
    Overloaded,
    /// The mesh cannot accept work at present.
    Unavailable,
    /// No version of the fallback chain can answer.
    ModelUnavailable,
    /// The deadline passed before there was an answer.
    DeadlineExceeded,
    /// An internal error, which is a bug.
    Internal,
}

impl ErrorCode {
    /// Every code, in the order of the documentation.
    pub const ALL: [Self; 13] = [
        Self::InvalidRequest,
        Self::InvalidFeatures,
        Self::Unauthorized,
        Self::Forbidden,
        Self::UnknownModel,
        Self::IdempotencyConflict,
        Self::PayloadTooLarge,
        Self::UnsupportedMediaType,
        Self::Overloaded,
        Self::Unavailable,
        Self::ModelUnavailable,
        Self::DeadlineExceeded,
        Self::Internal,
    ];

    /// The code as it is written in results.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidFeatures => "invalid_features",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::UnknownModel => "unknown_model",
            Self::IdempotencyConflict => "idempotency_conflict",
            Self::PayloadTooLarge => "payload_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "unavailable",
            Self::ModelUnavailable => "model_unavailable",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Internal => "internal",
        }
    }

    /// The code of that name; `Internal` for one this build does not know.
    pub fn parse(name: &str) -> Self {
        Self::ALL.into_iter().find(|code| code.as_str() == name).unwrap_or(Self::Internal)
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidRequest | Self::InvalidFeatures => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::UnknownModel => 404,
            Self::IdempotencyConflict => 409,
            Self::PayloadTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::Overloaded => 429,
            Self::Unavailable | Self::ModelUnavailable => 503,
            Self::DeadlineExceeded => 504,
            Self::Internal => 500,
        }
    }

    /// Whether the same request may succeed when it is sent again later.
    pub fn retryable(self) -> bool {
        is_retryable(self.status())
    }
}

/// Whether the same request may succeed when it is sent again after an answer with this HTTP status.
pub fn is_retryable(status: u16) -> bool {
    status == 429 || status >= 500
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A code, and a message that says what is wrong and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Problem {
    /// The code.
    pub code: ErrorCode,
    /// The message for the client.
    pub message: String,
}

/// What the problem of a row ends with whose result is not finite, though its model is well. Ingestion recognises it: the
/// text is part of what the services say to each other.
pub const NOT_FINITE: &str = "its result is not finite";
/// As [`NOT_FINITE`], for a model that has no answer to some rows.
pub const UNDEFINED: &str = "the row is outside of what the model was fitted on, or a function has no value there";

impl Problem {
    /// Whether a row has no answer because the model's result for it is not finite.
    pub fn is_not_finite(&self) -> bool {
        let said = [NOT_FINITE, UNDEFINED].iter().any(|reason| self.message.ends_with(reason));
        self.code == ErrorCode::InvalidFeatures && said
    }

    /// A problem with its message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A request to the repository unloaded `model`.
    pub fn unloaded(model: &str) -> Self {
        Self::new(ErrorCode::UnknownModel, format!("Request for unknown model: '{model}' is unloaded"))
    }

    /// The features `names` of a row have no values, and the version does not fill them in. The message lists at most
    /// `limit` of them.
    pub fn missing_features<'a>(names: impl IntoIterator<Item = &'a String>, limit: usize) -> Self {
        let names: Vec<&String> = names.into_iter().collect();
        let (features, are) = if names.len() == 1 { ("feature", "is") } else { ("features", "are") };
        let list = list_names(names.into_iter(), limit);
        Self::new(ErrorCode::InvalidFeatures, format!("{features} {list} {are} missing and cannot be filled in"))
    }
}

/// The first `limit` names, and how many more there are.
pub fn list_names<'a>(names: impl ExactSizeIterator<Item = &'a String>, limit: usize) -> String {
    let more = names.len().saturating_sub(limit);
    let mut text = names.take(limit).map(String::as_str).collect::<Vec<_>>().join(", ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

impl From<Problem> for wire::Failure {
    fn from(problem: Problem) -> Self {
        Self { code: problem.code.as_str().to_owned(), message: problem.message }
    }
}

impl wire::Outcome {
    /// Size of the encoded outcome, in bytes.
    pub fn encoded_bytes(&self) -> usize {
        prost::Message::encoded_len(self)
    }
}

impl From<Problem> for wire::Outcome {
    fn from(problem: Problem) -> Self {
        Self { result: Some(wire::outcome::Result::Failure(problem.into())) }
    }
}

impl From<wire::Answer> for wire::Outcome {
    fn from(answer: wire::Answer) -> Self {
        Self { result: Some(wire::outcome::Result::Answer(answer)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back() {
        for code in ErrorCode::ALL {
            assert_eq!(ErrorCode::parse(code.as_str()), code);
        }
        assert_eq!(ErrorCode::parse("from a newer build"), ErrorCode::Internal);
    }
}

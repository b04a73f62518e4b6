//! The parser of requests: JSON bytes to a [`ParsedRequest`], or a problem that names the path of the error. Every entry point
//! reads the same fields by the same rules. Kafka and RabbitMQ, whose clients cannot be changed, also ignore unknown fields
//! and accept a number as a request id.
//!
//! # Layout
//! - [`parse_http`], [`parse_record`]: the entry points
//! - `body`: the object and its fields
//! - `features`, `value`: rows, read directly into vectors
//! - `params`: parameters of the model's signature
//! - `scalar`: strings and integers
//! - `limits`: sizes of rows and strings
//! - `line`: a single row, for scoring files
//! - `type_mismatch`: errors for values of the wrong type
//! - `request_id`: recovers the request id of invalid JSON
//! - `error_context`: what a visitor records about an error

mod body;
mod error_context;
mod features;
mod limits;
mod line;
mod params;
mod request_id;
mod scalar;
mod type_mismatch;
mod value;

use std::fmt;

use forebay_contract::{ErrorCode, Problem};
use serde::de::DeserializeSeed;

use crate::request::ParsedRequest;
use body::Body;
pub(crate) use body::FIELDS;
use error_context::ErrorContext;
pub(crate) use error_context::{FEATURES, confluent_schema};
pub(crate) use features::repeated;
pub use limits::{MAX_ROW_BYTES, MAX_TEXT_BYTES};
pub use line::{Line, parse_line};
pub(crate) use params::ParamsJson;
pub use request_id::recover_request_id;

/// The rules in which the entry points differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rules {
    Http,
    Record,
}

/// The most rows of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowLimit {
    pub rows: usize,
    /// The setting that says so, for the error.
    pub setting: Option<&'static str>,
}

impl RowLimit {
    pub(crate) const ONE: Self = Self { rows: 1, setting: None };
}

impl fmt::Display for RowLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rows {
            1 => f.write_str("more than one row, the limit of one request")?,
            rows => write!(f, "more than {rows} rows, the limit of one request")?,
        }
        self.setting.map_or(Ok(()), |setting| write!(f, " ({setting})"))
    }
}

/// A record or body that is not a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    /// What is wrong and where.
    pub problem: Problem,
    /// The request id, if it could be read.
    pub request_id: Option<String>,
    /// The bytes are not a JSON object, so the record becomes a dead letter.
    pub undecodable: bool,
}

/// Reads an HTTP body of at most `max_rows` rows.
///
/// # Errors
/// `invalid_request`, `invalid_features` or `payload_too_large`, with the path of the error.
pub fn parse_http(bytes: &[u8], max_rows: usize) -> Result<ParsedRequest, Problem> {
    read(bytes, Rules::Http, RowLimit { rows: max_rows, setting: Some("http.max_rows") })
        .map_err(|rejected| rejected.problem)
}

/// Reads a request of one row from a record or message.
///
/// # Errors
/// Like [`parse_http`], with the request id if it can be recovered.
pub fn parse_record(bytes: &[u8]) -> Result<ParsedRequest, Rejected> {
    parse_record_rows(bytes, RowLimit::ONE)
}

/// As [`parse_record`], with as many rows.
pub(crate) fn parse_record_rows(bytes: &[u8], limit: RowLimit) -> Result<ParsedRequest, Rejected> {
    read(bytes, Rules::Record, limit).map_err(|mut rejected| {
        if rejected.request_id.is_none() {
            rejected.request_id = recover_request_id(bytes);
        }
        rejected
    })
}

/// The bytes without the mark that some programs write before UTF-8.
pub(crate) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

fn read(bytes: &[u8], rules: Rules, limit: RowLimit) -> Result<ParsedRequest, Rejected> {
    let bytes = without_mark(bytes);
    if bytes.is_empty() {
        let what = if rules == Rules::Http { "the body is empty" } else { "the record is empty" };
        let problem = Problem::new(ErrorCode::InvalidRequest, format!("{what}, expected a JSON object"));
        return Err(Rejected { problem, request_id: None, undecodable: true });
    }
    let mut context = ErrorContext::new(limit);
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let request =
        Body { context: &mut context, rules }.deserialize(&mut json).and_then(|request| json.end().map(|()| request));
    request.map_err(|error| context.into_rejected(bytes, &error))
}

#[cfg(test)]
mod tests;

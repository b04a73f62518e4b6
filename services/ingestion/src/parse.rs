//! The one parser of requests: JSON bytes to an [`Ask`] or a problem that names the place. HTTP and Kafka read the same
//! fields by the same rules; Kafka, where clients cannot be asked to change, ignores fields it does not know and takes
//! a number for a request id.
//!
//! # Layout
//! - [`parse_http`], [`parse_record`]: the doors' ways in
//! - `body`: the object and its fields
//! - `features`, `value`: rows of numbers, written straight into vectors
//! - `scalar`: texts and integers
//! - `line`: a row by itself, for scoring files
//! - `refuse`: wrong types, named with their place
//! - `salvage`: the request id of what is no request
//! - `watch`: what a visitor remembers of the place where it stopped

mod body;
mod features;
mod line;
mod refuse;
mod salvage;
mod scalar;
mod value;
mod watch;

use forebay_contract::{ErrorCode, Problem};
use serde::de::DeserializeSeed;

use crate::ask::Ask;
use body::Body;
#[cfg(test)]
pub(crate) use body::FIELDS;
pub use line::parse_line;
pub(crate) use salvage::request_id;
use watch::Watch;

/// Most bytes of the rows of one ask's single row on an edge: a broker's default record limit is 1 MiB.
pub const MAX_ROW_BYTES: usize = 512 * 1024;
/// Most bytes of a request id, a model name or a version: they travel with every row.
pub const MAX_TEXT_BYTES: usize = 512;

/// The rules in which the doors differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rules {
    Http,
    Record,
}

/// A record that is no ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    /// What is wrong and where.
    pub problem: Problem,
    /// Whom to tell, when that much could be read.
    pub request_id: Option<String>,
    /// The bytes are no JSON object: nothing that a later build might understand better can be said of them.
    pub undecodable: bool,
}

/// Reads an HTTP body of at most `max_rows` rows.
///
/// # Errors
/// `invalid_request`, `invalid_features` or `payload_too_large`, with the place.
pub fn parse_http(bytes: &[u8], max_rows: usize) -> Result<Ask, Problem> {
    read(bytes, Rules::Http, max_rows).map_err(|rejected| rejected.problem)
}

/// Reads one record of the request topic: one row.
///
/// # Errors
/// As [`parse_http`], with the request id as far as it can be made out.
pub fn parse_record(bytes: &[u8]) -> Result<Ask, Rejected> {
    read(bytes, Rules::Record, 1).map_err(|mut rejected| {
        if rejected.request_id.is_none() {
            rejected.request_id = request_id(bytes);
        }
        rejected
    })
}

fn read(bytes: &[u8], rules: Rules, max_rows: usize) -> Result<Ask, Rejected> {
    if bytes.is_empty() {
        let what = if rules == Rules::Http { "the body is empty" } else { "the record is empty" };
        let problem = Problem::new(ErrorCode::InvalidRequest, format!("{what}, expected a JSON object"));
        return Err(Rejected { problem, request_id: None, undecodable: true });
    }
    let mut watch = Watch::new(max_rows);
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let ask = Body { watch: &mut watch, rules }.deserialize(&mut json).and_then(|ask| json.end().map(|()| ask));
    ask.map_err(|error| watch.reject(bytes, &error))
}

#[cfg(test)]
mod tests;

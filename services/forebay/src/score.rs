//! Offline scoring: rows of a file or a pipe through one model, answers out in the same order, in bounded memory.
//!
//! # Layout
//! - `row_source`: the bytes that come in, a buffer at a time
//! - `framing`: where a record begins and ends: `csv_records` for CSV, `json_lines` for JSON lines
//! - `chunk`: the unit of work, a few hundred records as they stood in the file
//! - `scorer`: a chunk through the rules and the model; the only part that understands a record
//! - `row_counts`: how many rows were answered, and what was wrong with the first that was not
//! - `pipeline`: one thread that frames, some that score, one that writes
//! - `progress`: what a terminal sees meanwhile

mod chunk;
mod csv_records;
mod framing;
mod json_lines;
mod pipeline;
mod progress;
mod row_counts;
mod row_source;
mod scorer;

pub(crate) use framing::{Format, Framing};
pub(crate) use pipeline::{ScoreEnd, run};
pub(crate) use progress::ScoreProgress;
pub(crate) use row_counts::RowCounts;
pub(crate) use row_source::RowSource;
pub(crate) use scorer::Scorer;

/// Longest record accepted; it bounds what a quote that is never closed can take.
const MAX_RECORD: usize = 4 << 20;

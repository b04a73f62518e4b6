//! Offline scoring: rows of a file or a pipe through one model, answers out in the same order, in bounded memory.
//!
//! # Layout
//! - `input`: where rows come from, text or columns, and the unit of work
//! - `row_source`: the bytes that come in, a buffer at a time
//! - `framing`: where a record begins and ends: `csv_records` for CSV, `json_lines` for JSON lines
//! - `chunk`: a few hundred records of text in the file's order
//! - `columnar`: Parquet and Arrow, a batch of rows after another
//! - `scorer`: applies the rules and the model to records; the only part that interprets them
//! - `answers`: the rows of a chunk by the output that they want, and what the model answers
//! - `answer_text`: answers and errors as JSON lines
//! - `row_counts`: how many rows were answered, and what was wrong with the first that was not
//! - `pipeline`: one thread that frames, some that score, one that writes
//! - `progress`: the progress bar on a terminal

mod answer_text;
mod answers;
mod chunk;
mod columnar;
mod csv_records;
mod framing;
mod input;
mod json_lines;
mod pipeline;
mod progress;
mod row_counts;
mod row_source;
mod scorer;

pub(crate) use columnar::ColumnFile;
pub(crate) use framing::{Format, Framing};
pub(crate) use input::Input;
pub(crate) use pipeline::{ScoreEnd, run};
pub(crate) use progress::ScoreProgress;
pub(crate) use row_counts::RowCounts;
pub(crate) use row_source::RowSource;
pub(crate) use scorer::Scorer;

/// Longest record accepted, in bytes. It bounds the memory that an unclosed quote can take.
const MAX_RECORD: usize = 4 << 20;

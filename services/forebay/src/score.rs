//! Offline scoring: rows of a file or a pipe through one model, answers out in the same order, in bounded memory.
//!
//! # Layout
//! - `source`: the bytes that come in, a buffer at a time
//! - `framing`: where a record begins and ends: `table` for CSV, `lines` for JSON lines
//! - `chunk`: the unit of work, a few hundred records as they stood in the file
//! - `scorer`: a chunk through the rules and the model; the only part that understands a record
//! - `tally`: how many rows were answered, and what was wrong with the first that was not
//! - `pipeline`: one thread that frames, some that score, one that writes
//! - `progress`: what a terminal sees meanwhile

mod chunk;
mod framing;
mod lines;
mod pipeline;
mod progress;
mod scorer;
mod source;
mod table;
mod tally;

pub(crate) use framing::{Format, Framing};
pub(crate) use pipeline::{End, run};
pub(crate) use progress::Progress;
pub(crate) use scorer::Scorer;
pub(crate) use source::Source;
pub(crate) use tally::Tally;

/// Longest record accepted; it bounds what a quote that is never closed can take.
const MAX_RECORD: usize = 4 << 20;

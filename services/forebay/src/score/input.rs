//! Where rows come from, and the unit of work.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::chunk::Chunk;
use super::columnar::{ColumnFile, RowBatch};
use super::framing::Framing;
use super::row_source::RowSource;

/// What is scored.
pub(crate) enum Input {
    /// CSV or JSON lines.
    Text(Box<RowSource>, Framing),
    /// Parquet or Arrow.
    Columns(Box<ColumnFile>),
}

/// Consecutive rows.
pub(super) enum Records {
    Text(Chunk),
    Rows(RowBatch),
}

impl Input {
    /// How much there is to read in all, if that is known.
    pub(super) fn size(&self) -> Option<u64> {
        match self {
            Self::Text(source, _) => source.size(),
            Self::Columns(file) => file.size(),
        }
    }

    /// Counter of what was read of that, shared with the progress bar.
    pub(super) fn progress(&self) -> Arc<AtomicU64> {
        match self {
            Self::Text(source, _) => source.progress(),
            Self::Columns(file) => file.progress(),
        }
    }

    /// What numbers in messages count: lines of text, or rows.
    pub(crate) fn unit(&self) -> &'static str {
        match self {
            Self::Text(..) => "line",
            Self::Columns(_) => "row",
        }
    }
}

impl Records {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(chunk) => chunk.len(),
            Self::Rows(batch) => batch.len(),
        }
    }

    /// What the numbers of the records count.
    pub(super) fn unit(&self) -> &'static str {
        match self {
            Self::Text(_) => "line",
            Self::Rows(_) => "row",
        }
    }
}

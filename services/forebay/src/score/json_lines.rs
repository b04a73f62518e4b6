//! JSON lines: a record is a line that is not blank.

use super::MAX_RECORD;
use super::chunk::Chunk;
use super::framing::Step;
use super::row_source::RowSource;

/// Splits the input into lines.
#[derive(Debug, Default)]
pub(crate) struct JsonLines {
    /// Number of complete lines so far.
    line: u64,
    /// Bytes of the unfinished line that were searched for a line end already.
    scanned: usize,
    /// True while the rest of a line that is too long is dropped.
    dropping: bool,
}

impl JsonLines {
    /// Takes the next line, if it is complete.
    pub(super) fn step(&mut self, source: &mut RowSource, chunk: &mut Chunk) -> Step {
        let bytes = source.unread();
        let Some(end) = memchr::memchr(b'\n', &bytes[self.scanned..]).map(|end| self.scanned + end) else {
            self.scanned = bytes.len();
            if self.dropping || bytes.len() > MAX_RECORD {
                self.dropping = true;
                source.used(self.scanned);
                self.scanned = 0;
            }
            return Step::Starved;
        };
        self.take(&bytes[..end], chunk);
        source.used(end + 1);
        Step::Went
    }

    /// Takes the last line, which need not have an end.
    pub(super) fn finish(&mut self, source: &mut RowSource, chunk: &mut Chunk) {
        let rest = source.unread().len();
        if rest > 0 || self.dropping {
            self.take(source.unread(), chunk);
            source.used(rest);
        }
    }

    fn take(&mut self, line: &[u8], chunk: &mut Chunk) {
        self.line += 1;
        self.scanned = 0;
        let line = line.trim_ascii();
        if std::mem::take(&mut self.dropping) || line.len() > MAX_RECORD {
            chunk.push_lost(self.line, "the line is longer than 4 MiB");
        } else if !line.is_empty() {
            chunk.push(self.line, line, &[line.len()]);
        }
    }
}

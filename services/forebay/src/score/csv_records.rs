//! CSV: a record is a row of fields, quoted or not; the first one names the columns.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use super::MAX_RECORD;
use super::chunk::Chunk;
use super::framing::Step;
use super::row_source::RowSource;

/// Most fields of a record; models take at most half as many.
const MAX_FIELDS: usize = 1 << 17;

/// Finds records. The parser is a state machine that stops anywhere, so a record in pieces costs nothing.
pub(crate) struct CsvRecords {
    parser: Box<Reader>,
    /// Fields of the unfinished record.
    text: Vec<u8>,
    ends: Vec<usize>,
    filled: usize,
    ended: usize,
    /// Number of line ends seen so far.
    passed: u64,
    /// Line the unfinished record begins on.
    began: u64,
    /// Whether the unfinished record begins with a quote.
    quoted: bool,
    inside: bool,
}

impl CsvRecords {
    pub(super) fn new(delimiter: u8) -> Self {
        Self {
            parser: Box::new(ReaderBuilder::new().delimiter(delimiter).build()),
            text: vec![0; 4 << 10],
            ends: vec![0; 256],
            filled: 0,
            ended: 0,
            passed: 0,
            began: 0,
            quoted: false,
            inside: false,
        }
    }

    /// Takes the next record, if it is complete.
    ///
    /// # Errors
    /// A record that does not end.
    pub(super) fn step(&mut self, source: &mut RowSource, chunk: &mut Chunk) -> Result<Step, String> {
        if !self.inside {
            let bytes = source.unread();
            let blank = bytes.iter().position(|byte| !matches!(byte, b'\n' | b'\r')).unwrap_or(bytes.len());
            self.pass(&bytes[..blank]);
            source.used(blank);
        }
        let bytes = source.unread();
        let Some(first) = bytes.first() else { return Ok(Step::Starved) };
        if !self.inside {
            (self.began, self.quoted, self.inside) = (self.passed + 1, *first == b'"', true);
        }
        let (result, used, text, ends) =
            self.parser.read_record(bytes, &mut self.text[self.filled..], &mut self.ends[self.ended..]);
        self.pass(&bytes[..used]);
        source.used(used);
        (self.filled, self.ended) = (self.filled + text, self.ended + ends);
        match result {
            ReadRecordResult::InputEmpty => return Ok(Step::Starved),
            ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => self.grow()?,
            ReadRecordResult::Record => self.take(chunk),
            ReadRecordResult::End => self.inside = false,
        }
        Ok(Step::Went)
    }

    /// Takes the last record, which need not have a line end.
    ///
    /// # Errors
    /// A record that does not end.
    pub(super) fn finish(&mut self, chunk: &mut Chunk) -> Result<(), String> {
        while self.inside {
            let (result, _, text, ends) =
                self.parser.read_record(&[], &mut self.text[self.filled..], &mut self.ends[self.ended..]);
            (self.filled, self.ended) = (self.filled + text, self.ended + ends);
            match result {
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => self.grow()?,
                ReadRecordResult::Record => self.take(chunk),
                ReadRecordResult::InputEmpty | ReadRecordResult::End => self.inside = false,
            }
        }
        Ok(())
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.passed += memchr::memchr_iter(b'\n', bytes).count() as u64;
    }

    fn take(&mut self, chunk: &mut Chunk) {
        let (text, ends) = (&self.text[..self.filled], &self.ends[..self.ended]);
        // a line of white space is a blank line; a quoted nothing is the empty cell of a table with one column
        if self.quoted || ends.len() != 1 || !text.trim_ascii().is_empty() {
            chunk.push(self.began, text, ends);
        }
        (self.filled, self.ended, self.inside) = (0, 0, false);
    }

    fn grow(&mut self) -> Result<(), String> {
        let began = self.began;
        if self.filled == self.text.len() {
            if self.text.len() >= MAX_RECORD {
                return Err(format!("line {began}: a record of more than 4 MiB; is a quote never closed?"));
            }
            self.text.resize(self.text.len() * 2, 0);
        }
        if self.ended == self.ends.len() {
            if self.ends.len() >= MAX_FIELDS {
                return Err(format!("line {began}: a record of more than {MAX_FIELDS} fields"));
            }
            self.ends.resize(self.ends.len() * 2, 0);
        }
        Ok(())
    }
}

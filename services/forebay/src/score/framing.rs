//! Where records begin and end, whatever the format.

use std::path::Path;

use clap::ValueEnum;

use super::chunk::Chunk;
use super::columnar;
use super::csv_records::CsvRecords;
use super::json_lines::JsonLines;
use super::row_source::RowSource;

/// How the rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// By the file's first bytes and its name
    Auto,
    /// Columns under a header line
    Csv,
    /// One JSON document a line
    Jsonl,
    /// A Parquet file
    Parquet,
    /// Arrow's file format (Feather) or its stream format
    Arrow,
}

impl Format {
    /// What `auto` means for this file: Parquet and Arrow are known by their first bytes, for others its name decides, else
    /// its first character.
    ///
    /// # Errors
    /// The I/O error.
    pub(crate) fn settle(self, path: &str, source: &mut RowSource) -> std::io::Result<Self> {
        if self != Self::Auto {
            return Ok(self);
        }
        const PARQUET: [&[u8]; 2] = [columnar::PARQUET, columnar::PARQUET_ENCRYPTED];
        const ARROW: [&[u8]; 3] = [columnar::ARROW_FILE, columnar::ARROW_STREAM, columnar::FEATHER_1];
        // no further than a mark may reach: whoever writes the rows may wait for the answer to a short one
        let unclear =
            |read: &[u8]| PARQUET.iter().chain(&ARROW).any(|mark| read.len() < mark.len() && mark.starts_with(read));
        while unclear(source.unread()) && source.fill()? {}
        let begins = |marks: &[&[u8]]| marks.iter().any(|mark| source.unread().starts_with(mark));
        if begins(&PARQUET) {
            return Ok(Self::Parquet);
        }
        if begins(&ARROW) {
            return Ok(Self::Arrow);
        }
        let extension = Path::new(path).extension().and_then(|it| it.to_str()).unwrap_or("").to_ascii_lowercase();
        Ok(match extension.as_str() {
            "csv" | "tsv" => Self::Csv,
            "jsonl" | "ndjson" | "json" => Self::Jsonl,
            "parquet" | "pq" => Self::Parquet,
            "arrow" | "arrows" | "feather" | "ipc" => Self::Arrow,
            _ => match source.first()? {
                Some(b'{' | b'[') | None => Self::Jsonl,
                Some(_) => Self::Csv,
            },
        })
    }
}

/// The result of one step over the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Something was taken; there may be more.
    Went,
    /// Nothing more can be taken before more bytes are there.
    Starved,
}

/// Finds records of one format of text.
pub(crate) enum Framing {
    CsvRecords(Box<CsvRecords>),
    JsonLines(JsonLines),
}

impl Framing {
    /// For `format`, with `delimiter` between the fields of CSV.
    pub(crate) fn new(format: Format, delimiter: u8) -> Self {
        match format {
            Format::Csv => Self::CsvRecords(Box::new(CsvRecords::new(delimiter))),
            _ => Self::JsonLines(JsonLines::default()),
        }
    }

    pub(super) fn step(&mut self, source: &mut RowSource, chunk: &mut Chunk) -> Result<Step, String> {
        match self {
            Self::CsvRecords(table) => table.step(source, chunk),
            Self::JsonLines(lines) => Ok(lines.step(source, chunk)),
        }
    }

    pub(super) fn finish(&mut self, source: &mut RowSource, chunk: &mut Chunk) -> Result<(), String> {
        match self {
            Self::CsvRecords(table) => table.finish(chunk),
            Self::JsonLines(lines) => {
                lines.finish(source, chunk);
                Ok(())
            }
        }
    }

    /// Reads the first record alone: the header of a table.
    ///
    /// # Errors
    /// The I/O error, or a record that does not end.
    pub(crate) fn header(&mut self, source: &mut RowSource) -> Result<Vec<String>, String> {
        let mut chunk = Chunk::default();
        while chunk.is_empty() {
            if self.step(source, &mut chunk)? == Step::Starved && !source.fill().map_err(|error| error.to_string())? {
                self.finish(source, &mut chunk)?;
                break;
            }
        }
        let Some(fields) = chunk.iter().next() else { return Ok(Vec::new()) };
        let text = |index| String::from_utf8_lossy(fields.get(index)).trim().to_owned();
        Ok((0..fields.len()).map(text).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// Gives a few bytes a time, as a slow pipe does.
    struct Trickle(Vec<u8>, usize);

    impl Read for Trickle {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let count = self.1.min(self.0.len()).min(buffer.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0.drain(..count);
            Ok(count)
        }
    }

    fn records(format: Format, text: &[u8], pace: usize) -> Result<Vec<(u64, Vec<String>)>, String> {
        let mut source = RowSource::new(Box::new(Trickle(text.to_vec(), pace)), None);
        source.skip_mark()?;
        let (mut framing, mut chunk) = (Framing::new(format, b','), Chunk::default());
        loop {
            if framing.step(&mut source, &mut chunk)? == Step::Starved && !source.fill().unwrap() {
                break;
            }
        }
        framing.finish(&mut source, &mut chunk)?;
        let text = |f: &[u8]| String::from_utf8_lossy(f).into_owned();
        Ok(chunk
            .iter()
            .map(|f| {
                (f.line, f.lost.map_or_else(|| (0..f.len()).map(|i| text(f.get(i))).collect(), |l| vec![l.into()]))
            })
            .collect())
    }

    #[test]
    fn a_table_with_everything_the_format_has() {
        let text = b"\xef\xbb\xbfa,b\r\n\r\n1,\"2 \"\"x\"\"\"\r\n\"3\n3\",4\n  \n,\n5,6";
        let row = |line, a: &str, b: &str| (line, vec![a.to_owned(), b.to_owned()]);
        let expected =
            vec![row(1, "a", "b"), row(3, "1", "2 \"x\""), row(4, "3\n3", "4"), row(7, "", ""), row(8, "5", "6")];
        for pace in [1, 2, 3, 7, 1000] {
            assert_eq!(records(Format::Csv, text, pace).unwrap(), expected, "{pace} bytes a time");
        }
    }

    #[test]
    fn a_quote_that_is_never_closed_ends_the_reading() {
        let mut text = b"a,b\n1,\"2\n".to_vec();
        text.resize(MAX_TEST, b'x');
        assert!(records(Format::Csv, &text, 1 << 20).unwrap_err().starts_with("line 2: a record of more than 4 MiB"));
        assert_eq!(records(Format::Csv, b"a\n\"1", 10).unwrap()[1], (2, vec!["1".to_owned()]));
        let many = [b"a\n".as_slice(), &[b','; 200_000]].concat();
        assert!(records(Format::Csv, &many, 1 << 20).unwrap_err().contains("fields"));
    }

    const MAX_TEST: usize = super::super::MAX_RECORD + (1 << 20);

    #[test]
    fn lines_count_and_blank_ones_are_skipped() {
        for pace in [1, 5, 1000] {
            let found = records(Format::Jsonl, b"\xef\xbb\xbf[1]\r\n\n  \n[2]", pace).unwrap();
            assert_eq!(found, [(1, vec!["[1]".to_owned()]), (4, vec!["[2]".to_owned()])]);
        }
    }

    #[test]
    fn a_line_too_long_is_lost_and_its_neighbours_are_not() {
        let mut text = b"[1]\n".to_vec();
        text.resize(MAX_TEST, b' ');
        text.extend_from_slice(b"x\n[2]\n");
        let found = records(Format::Jsonl, &text, 1 << 18).unwrap();
        let lines: Vec<(u64, &str)> = found.iter().map(|(line, fields)| (*line, fields[0].as_str())).collect();
        assert_eq!(lines, [(1, "[1]"), (2, "the line is longer than 4 MiB"), (3, "[2]")]);
    }
}

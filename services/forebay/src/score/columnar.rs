//! Files of columns: Parquet, and Arrow's file and stream formats. Columns that the model does not take are not decoded, and
//! a value is what it would be in JSON: an integer, a float, a boolean, text, or missing.
//!
//! # Layout
//! - `parquet_file`: row group by row group, a few MiB a batch
//! - `row_batch`: some consecutive rows, the unit of work
//! - `cells`: the values of one column, and the types that are read

mod cells;
mod parquet_file;
mod row_batch;

use std::fs::File;
use std::io::BufReader;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::RecordBatch;
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{ArrowError, SchemaRef};

use super::framing::Format;
use super::row_source::RowSource;
use crate::columns::Columns;
use parquet_file::ParquetFile;
pub(super) use row_batch::RowBatch;

/// What a Parquet file begins with, and one that is encrypted.
pub(super) const PARQUET: &[u8] = b"PAR1";
pub(super) const PARQUET_ENCRYPTED: &[u8] = b"PARE";
/// What Arrow's file format begins with.
pub(super) const ARROW_FILE: &[u8] = b"ARROW1";
/// What Arrow's stream format begins with.
pub(super) const ARROW_STREAM: &[u8] = &[0xff; 4];
/// What the first version of Feather begins with.
pub(super) const FEATHER_1: &[u8] = b"FEA1";

/// A file of columns, and how far it was read.
pub(crate) struct ColumnFile {
    path: String,
    reader: Reader,
    /// For each column of the header its index in the file.
    header: Vec<usize>,
    /// For each feature of the model its index in the batches that are read; `None` for one that the file lacks.
    features: Vec<Option<usize>>,
    /// What was decoded and not handed out yet.
    rest: Option<RecordBatch>,
    /// Number of rows handed out.
    passed: u64,
    /// The part of `size` that was read.
    read: Arc<AtomicU64>,
    /// Rows or bytes in all.
    size: Option<u64>,
}

enum Reader {
    Parquet(Box<ParquetFile>),
    ArrowFile(Box<FileReader<BufReader<File>>>),
    ArrowStream(Box<StreamReader<RowSource>>),
}

impl ColumnFile {
    /// Reads the names and types of the columns of `path`, which `source` is at the beginning of.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn open(path: &str, format: Format, source: RowSource) -> Result<Self, String> {
        unless_panicked(|| Self::open_format(path, format, source))
    }

    fn open_format(path: &str, format: Format, mut source: RowSource) -> Result<Self, String> {
        source.begin(8).map_err(|error| error.to_string())?;
        let begin = source.unread();
        let (mut size, mut read) = (None, Arc::default());
        let reader = if begin.starts_with(PARQUET_ENCRYPTED) {
            return Err("is Parquet that is encrypted, which is not read".to_owned());
        } else if begin.starts_with(FEATHER_1) {
            return Err("is Feather version 1, which is not read; pandas writes version 2, which is Arrow".to_owned());
        } else if format == Format::Parquet {
            if !begin.starts_with(PARQUET) {
                return Err("is not Parquet".to_owned());
            }
            let file = ParquetFile::open(seekable(path, "Parquet")?)?;
            size = Some(file.rows());
            Reader::Parquet(Box::new(file))
        } else if begin.starts_with(ARROW_FILE) {
            let file = seekable(path, "an Arrow file")?;
            Reader::ArrowFile(Box::new(FileReader::try_new_buffered(file, None).map_err(arrow)?))
        } else if begin.starts_with(ARROW_STREAM) {
            (size, read) = (source.size(), source.progress());
            Reader::ArrowStream(Box::new(StreamReader::try_new(source, None).map_err(arrow)?))
        } else {
            return Err("is neither Arrow's file format nor its stream format".to_owned());
        };
        let mut file = Self {
            path: path.to_owned(),
            reader,
            header: Vec::new(),
            features: Vec::new(),
            rest: None,
            passed: 0,
            read,
            size,
        };
        let schema = file.schema();
        file.header = (0..schema.fields().len()).filter(|at| !is_index(schema.field(*at).name())).collect();
        if let Reader::ArrowFile(reader) = &file.reader {
            file.size = Some(reader.num_batches() as u64);
        }
        Ok(file)
    }

    fn schema(&self) -> SchemaRef {
        match &self.reader {
            Reader::Parquet(file) => file.schema(),
            Reader::ArrowFile(file) => file.schema(),
            Reader::ArrowStream(stream) => stream.schema(),
        }
    }

    /// The names of the columns, without the index that pandas writes beside them.
    pub(crate) fn header(&self) -> Vec<String> {
        let schema = self.schema();
        self.header.iter().map(|at| schema.field(*at).name().clone()).collect()
    }

    /// Chooses the features of the model, where `columns` found them in the header, at most `batch` rows at a time.
    ///
    /// # Errors
    /// The name and type of a feature that is no number, boolean or text.
    pub(crate) fn select(&mut self, columns: &Columns, batch: usize) -> Result<(), String> {
        let schema = self.schema();
        let place = |place: &Option<usize>| place.and_then(|place| self.header.get(place).copied());
        let places: Vec<Option<usize>> = columns.places().iter().map(place).collect();
        for field in places.iter().flatten().map(|at| schema.field(*at)) {
            cells::check_type(field)?;
        }
        let mut wanted: Vec<usize> = places.iter().flatten().copied().collect();
        wanted.sort_unstable();
        wanted.dedup();
        let of_wanted = |at: usize| wanted.binary_search(&at).ok();
        match &mut self.reader {
            Reader::Parquet(file) => file.select(wanted.clone(), batch)?,
            Reader::ArrowFile(_) => {
                let file = seekable(&self.path, "an Arrow file")?;
                let selected = FileReader::try_new_buffered(file, Some(wanted.clone())).map_err(arrow)?;
                self.reader = Reader::ArrowFile(Box::new(selected));
            }
            // a stream cannot be read again, and its reader takes a selection only at the start
            Reader::ArrowStream(_) => {
                self.features = places;
                return Ok(());
            }
        }
        self.features = places.into_iter().map(|at| at.and_then(of_wanted)).collect();
        Ok(())
    }

    /// The next rows, at most `batch` of them; `None` at the end.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(super) fn next(&mut self, batch: usize) -> Result<Option<RowBatch>, String> {
        let rows = loop {
            match self.rest.take() {
                Some(rows) if rows.num_rows() > 0 => break rows,
                _ => match unless_panicked(|| self.decode())? {
                    Some(rows) => self.rest = Some(rows),
                    None => return Ok(None),
                },
            }
        };
        let count = rows.num_rows().min(batch.max(1));
        if count < rows.num_rows() {
            self.rest = Some(rows.slice(count, rows.num_rows() - count));
        }
        let first = self.passed + 1;
        self.passed += count as u64;
        if matches!(self.reader, Reader::Parquet(_)) {
            self.read.store(self.passed, Ordering::Relaxed);
        }
        RowBatch::new(&rows.slice(0, count), &self.features, first).map(Some)
    }

    fn decode(&mut self) -> Result<Option<RecordBatch>, String> {
        match &mut self.reader {
            Reader::Parquet(file) => file.next(),
            Reader::ArrowFile(file) => {
                let batch = file.next().transpose().map_err(arrow);
                self.read.fetch_add(1, Ordering::Relaxed);
                batch
            }
            Reader::ArrowStream(stream) => stream.next().transpose().map_err(arrow),
        }
    }

    /// How much there is to read in all, if that is known.
    pub(super) fn size(&self) -> Option<u64> {
        self.size
    }

    /// Counter of what was read of that.
    pub(super) fn progress(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.read)
    }
}

/// Whether pandas wrote the column for an index without a name: it is no column of the frame.
fn is_index(name: &str) -> bool {
    let number = name.strip_prefix("__index_level_").and_then(|name| name.strip_suffix("__"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The readers of both formats panic at some damage. What they were doing is not continued then.
fn unless_panicked<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err("is damaged: its reader failed".to_owned()))
}

/// Opens a file whose index is at its end.
fn seekable(path: &str, what: &str) -> Result<File, String> {
    let file = File::open(path).ok().filter(|file| file.metadata().is_ok_and(|meta| meta.is_file()));
    file.filter(|_| path != "-")
        .ok_or_else(|| format!("is {what}, which has its index at the end, and cannot come from a pipe; name a file"))
}

fn arrow(error: ArrowError) -> String {
    format!("is damaged, or no Arrow that is read here: {error}")
}

#[cfg(test)]
mod tests;

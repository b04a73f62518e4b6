//! The oracle: an append-only file that says what was sent and what was accepted, written during a run and read by the
//! judge.
//!
//! One event a line: `S <request id> <checksum, hex> <sent at, microseconds since 1970>` when a request goes out,
//! `A <request id>` when it was accepted (Kafka: the broker's delivery report; HTTP: an answer), `X <request id>` when it
//! was refused.

use std::fs::File;
use std::io::{BufRead, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::error::LoadtestError;
use crate::request_generator::RequestGenerator;

/// The writing side. Can be shared by threads.
#[derive(Debug)]
pub struct Oracle {
    path: PathBuf,
    file: Mutex<BufWriter<File>>,
}

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OracleEvent {
    /// A request went out.
    Sent {
        /// Its request id.
        id: String,
        /// Checksum of its features.
        checksum: u64,
        /// Microseconds since 1970.
        at_us: u64,
    },
    /// It was accepted, so it has to be answered.
    Accepted(String),
    /// It was refused; it may or may not be answered.
    Refused(String),
}

impl Oracle {
    /// Opens `path` for appending.
    pub fn append(path: &Path) -> Result<Self, LoadtestError> {
        let open = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let file = Mutex::new(BufWriter::with_capacity(1 << 16, open.map_err(LoadtestError::file(path))?));
        Ok(Self { path: path.to_path_buf(), file })
    }

    /// Request `index` of `requests` goes out now.
    pub fn sent(&self, requests: &RequestGenerator, index: u64) -> Result<(), LoadtestError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        self.line(format_args!("S {}-{index} {:016x} {now}", requests.run(), requests.checksum(index)))
    }

    /// Request `index` was accepted.
    pub fn accepted(&self, requests: &RequestGenerator, index: u64) -> Result<(), LoadtestError> {
        self.line(format_args!("A {}-{index}", requests.run()))
    }

    /// Request `index` was refused.
    pub fn refused(&self, requests: &RequestGenerator, index: u64) -> Result<(), LoadtestError> {
        self.line(format_args!("X {}-{index}", requests.run()))
    }

    /// Writes out what is buffered.
    pub fn flush(&self) -> Result<(), LoadtestError> {
        self.file.lock().flush().map_err(LoadtestError::file(&self.path))
    }

    fn line(&self, text: std::fmt::Arguments<'_>) -> Result<(), LoadtestError> {
        writeln!(self.file.lock(), "{text}").map_err(LoadtestError::file(&self.path))
    }
}

/// Reads an oracle, line by line. A torn last line (the generator was killed) is ignored; any other is an error with
/// its number.
pub(crate) fn read(path: &Path, mut event: impl FnMut(OracleEvent)) -> Result<(), LoadtestError> {
    let file = File::open(path).map_err(LoadtestError::file(path))?;
    let mut lines = std::io::BufReader::new(file).lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let line = line.map_err(LoadtestError::file(path))?;
        match parse(&line) {
            Some(parsed) => event(parsed),
            None if lines.peek().is_none() => {}
            None => {
                let place = format!("{}, line {}", path.display(), index + 1);
                return Err(LoadtestError::Input(format!("{place}: {line:?} is not an oracle line")));
            }
        }
    }
    Ok(())
}

fn parse(line: &str) -> Option<OracleEvent> {
    let mut words = line.split(' ');
    let (kind, id) = (words.next()?, words.next()?.to_owned());
    match kind {
        "S" => {
            let checksum = u64::from_str_radix(words.next().filter(|hex| hex.len() == 16)?, 16).ok()?;
            Some(OracleEvent::Sent { id, checksum, at_us: words.next()?.parse().ok()? })
        }
        "A" => Some(OracleEvent::Accepted(id)),
        "X" => Some(OracleEvent::Refused(id)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request_generator::RequestOptions;
    use crate::run::RunId;
    use crate::workload_rows::WorkloadRows;

    #[test]
    fn what_is_written_reads_back_and_a_torn_end_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("oracle.log");
        let run = RunId::parse("ab12cd34").unwrap();
        let requests = RequestGenerator::new(WorkloadRows::scaled().unwrap(), run, &RequestOptions::default()).unwrap();
        let oracle = Oracle::append(&path).unwrap();
        oracle.sent(&requests, 5).unwrap();
        oracle.accepted(&requests, 5).unwrap();
        oracle.refused(&requests, 6).unwrap();
        oracle.flush().unwrap();
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"S ab12cd34-7 00ff").unwrap();

        let mut events = Vec::new();
        read(&path, |event| events.push(event)).unwrap();
        assert_eq!(events.len(), 3);
        assert!(
            matches!(&events[0], OracleEvent::Sent { id, checksum, .. } if id == "ab12cd34-5" && *checksum == requests.checksum(5))
        );
        assert_eq!(events[1], OracleEvent::Accepted("ab12cd34-5".into()));
        assert_eq!(events[2], OracleEvent::Refused("ab12cd34-6".into()));
    }

    #[test]
    fn a_broken_line_in_the_middle_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("oracle.log");
        std::fs::write(&path, "A x-1\nwhat\nA x-2\n").unwrap();
        assert!(read(&path, |_| {}).unwrap_err().to_string().contains("line 2"));
    }
}

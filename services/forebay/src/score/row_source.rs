//! The bytes that come in, a buffer at a time.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Size of one read, in bytes.
const READ: usize = 256 << 10;

/// A file or a pipe, and a buffer of what was read from it but not yet used.
pub(crate) struct RowSource {
    from: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    read: Arc<AtomicU64>,
    size: Option<u64>,
}

impl RowSource {
    /// Opens `path`, or standard input for `-`.
    ///
    /// # Errors
    /// Why the file cannot be read.
    pub(crate) fn open(path: &str) -> Result<Self, String> {
        if path == "-" {
            return Ok(Self::new(Box::new(std::io::stdin()), None));
        }
        let failed = |error: std::io::Error| format!("{path}: {error}");
        let file = File::open(Path::new(path)).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if meta.is_dir() {
            return Err(format!("{path}: is a folder, expected a file of rows"));
        }
        Ok(Self::new(Box::new(file), meta.is_file().then_some(meta.len())))
    }

    /// Reads from `from`; `size` is how much there is, where that is known.
    pub(crate) fn new(from: Box<dyn Read + Send>, size: Option<u64>) -> Self {
        Self { from, buffer: Vec::new(), start: 0, read: Arc::default(), size }
    }

    /// Bytes in all, if that is known.
    pub(crate) fn size(&self) -> Option<u64> {
        self.size
    }

    /// Counter of the bytes read so far, shared with the progress bar.
    pub(crate) fn progress(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.read)
    }

    /// What was read and not used.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Drops the first `count` of [`RowSource::unread`].
    pub(crate) fn used(&mut self, count: usize) {
        self.start = (self.start + count).min(self.buffer.len());
    }

    /// Waits for more bytes; false at the end. What is not used stays, so callers use what they can first.
    ///
    /// # Errors
    /// The I/O error.
    pub(crate) fn fill(&mut self) -> std::io::Result<bool> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let kept = self.buffer.len();
        self.buffer.resize(kept + READ, 0);
        let got = loop {
            match self.from.read(&mut self.buffer[kept..]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(kept + *got.as_ref().unwrap_or(&0));
        let got = got?;
        self.read.fetch_add(got as u64, Ordering::Relaxed);
        Ok(got > 0)
    }

    /// The first `count` bytes, fewer if there are no more; they are kept.
    ///
    /// # Errors
    /// The I/O error.
    pub(crate) fn begin(&mut self, count: usize) -> std::io::Result<&[u8]> {
        while self.unread().len() < count && self.fill()? {}
        let count = count.min(self.unread().len());
        Ok(&self.unread()[..count])
    }

    /// Skips a byte order mark, so that the first name or bracket is what it looks like.
    ///
    /// # Errors
    /// The I/O error, or that this is no text in UTF-8.
    pub(crate) fn skip_mark(&mut self) -> Result<(), String> {
        while self.unread().len() < 3 && self.fill().map_err(|error| error.to_string())? {}
        match self.unread() {
            [0xef, 0xbb, 0xbf, ..] => self.used(3),
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => return Err("is UTF-16, expected UTF-8".to_owned()),
            [0x1f, 0x8b, ..] | [b'P', b'K', 3, ..] | [0x28, 0xb5, 0x2f, ..] => {
                return Err("is compressed, expected plain text; unpack it into a pipe and give --input -".to_owned());
            }
            [b'P', b'A', b'R', ..] => return Err("looks like Parquet, expected CSV or JSON lines".to_owned()),
            [b'A', b'R', b'R', ..] => return Err("looks like Arrow, expected CSV or JSON lines".to_owned()),
            _ => {}
        }
        Ok(())
    }

    /// The first byte that is no white space; white space in front of it is kept.
    ///
    /// # Errors
    /// The I/O error.
    pub(crate) fn first(&mut self) -> std::io::Result<Option<u8>> {
        loop {
            if let Some(first) = self.unread().iter().copied().find(|byte| !byte.is_ascii_whitespace()) {
                return Ok(Some(first));
            }
            if self.unread().len() > super::MAX_RECORD || !self.fill()? {
                return Ok(None);
            }
        }
    }
}

impl Read for RowSource {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.unread().is_empty() && !self.fill()? {
            return Ok(0);
        }
        let count = self.unread().len().min(out.len());
        out[..count].copy_from_slice(&self.unread()[..count]);
        self.used(count);
        Ok(count)
    }
}

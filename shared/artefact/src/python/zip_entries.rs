//! The entries of a zip: parts of the file where they are stored as they are, else inflated within the budget.

use std::collections::HashMap;
use std::io::Cursor;
use std::ops::Range;

use bytes::Bytes;
use zip::read::ZipFile;
use zip::{CompressionMethod, ZipArchive};

use super::{array::Array, inflate, npy};
use crate::LoadBudget;

/// What an entry of a zip's directory begins with.
const ENTRY: &[u8] = b"PK\x01\x02";
/// The most entries of a zip; two or three for each tree of a forest.
const MAX_ENTRIES: usize = 1 << 18;

/// The entries of the zip, inflated within a budget.
pub(super) struct Files<'b> {
    bytes: &'b Bytes,
    /// Bytes of entries that may still be parts of the file: entries that overlap are no more than the file together.
    shared: u64,
    zip: ZipArchive<Cursor<&'b [u8]>>,
    /// Bytes that may still be inflated, as the size of the zip allows.
    limit: u64,
    budget: &'b LoadBudget,
    arrays: HashMap<String, Array>,
    /// Bytes of arrays that were inflated since the allowance was last raised.
    pub(super) fresh: usize,
}

impl<'b> Files<'b> {
    /// # Errors
    /// Why it is no zip.
    pub(super) fn open(bytes: &'b Bytes, budget: &'b LoadBudget) -> Result<Self, String> {
        // each takes hundreds of bytes once the directory is read
        let entries = memchr::memmem::find_iter(bytes, ENTRY).take(MAX_ENTRIES + 1).count();
        if entries > MAX_ENTRIES {
            return Err(format!("has more than {MAX_ENTRIES} entries"));
        }
        let zip = ZipArchive::new(Cursor::new(&**bytes)).map_err(|e| format!("is not a zip file: {e}"))?;
        let (shared, limit) = (bytes.len() as u64, inflate::limit(bytes.len()));
        Ok(Self { bytes, shared, zip, limit, budget, arrays: HashMap::new(), fresh: 0 })
    }

    /// The entries of a zip that is an entry of this one.
    pub(super) fn nested<'n>(&'n self, bytes: &'n Bytes) -> Result<Files<'n>, String> {
        let inner = Files::open(bytes, self.budget)?;
        // what the outer zip may still inflate bounds the inner one as well
        let limit = inner.limit.min(self.limit);
        Ok(Files { limit, ..inner })
    }

    /// An entry: a part of the file where it is stored as it is, else inflated.
    pub(super) fn inflate(&mut self, name: &str, most: u64) -> Result<Bytes, String> {
        let file = self.zip.by_name(name).map_err(|e| e.to_string())?;
        if let Some(range) = stored(&file, self.bytes.len()).filter(|range| range.len() as u64 <= most.min(self.shared))
        {
            self.shared -= range.len() as u64;
            let (expected, entry) = (file.crc32(), self.bytes.slice(range));
            return if crc32(&entry) == expected { Ok(entry) } else { Err("its checksum is wrong".to_owned()) };
        }
        let out = inflate::within(self.limit.min(most), self.budget, file)?;
        self.limit -= out.len() as u64;
        Ok(out.into())
    }

    pub(super) fn array(&mut self, name: &str) -> Result<Array, String> {
        if let Some(known) = self.arrays.get(name) {
            return Ok(known.clone());
        }
        let bytes = self.inflate(name, u64::MAX).map_err(|e| format!("{name}: {e}"))?;
        self.fresh += bytes.len();
        let array = npy::read(&bytes).map_err(|e| format!("{name}: {e}"))?;
        self.arrays.insert(name.to_owned(), array.clone());
        Ok(array)
    }
}

/// Where in a zip of `length` bytes an entry is stored as it is; `None` if it is not.
fn stored(file: &ZipFile<'_, Cursor<&[u8]>>, length: usize) -> Option<Range<usize>> {
    let plain = file.compression() == CompressionMethod::Stored && !file.encrypted();
    let start = usize::try_from(file.data_start()?).ok()?;
    let end = start.checked_add(usize::try_from(file.size()).ok()?)?;
    (plain && file.size() == file.compressed_size() && end <= length).then_some(start..end)
}

/// The checksum of a zip's entry.
fn crc32(bytes: &[u8]) -> u32 {
    let mut checksum = flate2::Crc::new();
    checksum.update(bytes);
    checksum.sum()
}

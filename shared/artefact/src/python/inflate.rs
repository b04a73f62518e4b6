//! Inflates compressed files within limits that depend on their size.

use std::io::Read;

use flate2::read::{MultiGzDecoder, ZlibDecoder};

use crate::Fault;

/// Number of inflated bytes allowed for any file, independent of its size.
const BASE: u64 = 64 << 20;
/// Number of further inflated bytes allowed per byte of the file.
const RATIO: u64 = 100;
/// Upper limit of inflated bytes for any file.
const MAX: u64 = 1 << 30;

/// Limit of inflated bytes for a file of `bytes` bytes.
pub(super) fn budget(bytes: usize) -> u64 {
    (bytes as u64).saturating_mul(RATIO).saturating_add(BASE).min(MAX)
}

/// Reads `source` to its end; `budget` limits the number of bytes.
pub(super) fn within(budget: u64, source: impl Read) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    source.take(budget + 1).read_to_end(&mut out).map_err(|e| e.to_string())?;
    if out.len() as u64 > budget {
        return Err("inflates to far more than the file's size allows".to_owned());
    }
    Ok(out)
}

/// The pickle inside a file that joblib compressed; `None` when it is not compressed.
///
/// # Errors
/// A [`Fault`] for an unsupported compression, a broken stream, or one that exceeds its limit.
pub(crate) fn joblib(bytes: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    let other = match bytes {
        [0x1f, 0x8b, ..] => return inflated("gzip", bytes.len(), MultiGzDecoder::new(bytes)),
        // zlib's header is a multiple of 31
        [0x78, flags, ..] if (0x7800 | u16::from(*flags)).is_multiple_of(31) => {
            return inflated("zlib", bytes.len(), ZlibDecoder::new(bytes));
        }
        [b'Z', b'F', ..] => "joblib before 0.10",
        [b'B', b'Z', b'h', ..] => "bz2",
        [0xfd, b'7', b'z', b'X', b'Z', ..] => "xz",
        [0x5d, 0, 0, ..] => "lzma",
        [0x04, 0x22, 0x4d, 0x18, ..] => "lz4",
        _ => return Ok(None),
    };
    Err(Fault::new("", format!("compression {other} is not supported; dump with compress=0 or ('zlib', 3)")))
}

fn inflated(kind: &str, size: usize, source: impl Read) -> Result<Option<Vec<u8>>, Fault> {
    within(budget(size), source).map(Some).map_err(|e| Fault::new("", format!("{kind}: {e}")))
}

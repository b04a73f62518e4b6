//! Compressed files, inflated within bounds that follow from their own size.

use std::io::Read;

use flate2::read::{MultiGzDecoder, ZlibDecoder};

use crate::Fault;

/// Inflated bytes allowed for any file, whatever its size.
const BASE: u64 = 64 << 20;
/// Inflated bytes allowed per byte of the file beyond that.
const RATIO: u64 = 100;
/// Inflated bytes never exceeded.
const MAX: u64 = 1 << 30;

/// What a file of `bytes` bytes may inflate to.
pub(super) fn budget(bytes: usize) -> u64 {
    (bytes as u64).saturating_mul(RATIO).saturating_add(BASE).min(MAX)
}

/// Reads `source` to its end, unless that is more than `budget` bytes.
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
/// A [`Fault`] for a compression that is not read, a broken stream, or one that inflates to more than it may.
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

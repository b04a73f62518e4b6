//! Inflates compressed files within limits: the budget of the version, and a multiple of the file's size.

use std::io::Read;

use flate2::read::{MultiGzDecoder, ZlibDecoder};

use crate::{Fault, LoadBudget, OverBudget};

/// Number of inflated bytes allowed for any file, independent of its size.
const BASE: u64 = 1 << 20;
/// Number of further inflated bytes allowed per byte of the file.
const RATIO: u64 = 200;

/// The most bytes that a file of `bytes` bytes may inflate to.
pub(super) fn limit(bytes: usize) -> u64 {
    (bytes as u64).saturating_mul(RATIO).saturating_add(BASE)
}

/// Reads `source` to its end: at most `limit` bytes, and no more than `budget` has left, from which they are taken.
pub(super) fn within(limit: u64, budget: &LoadBudget, source: impl Read) -> Result<Vec<u8>, String> {
    let most = limit.min(budget.left());
    let mut out = Vec::new();
    source.take(most + 1).read_to_end(&mut out).map_err(|e| e.to_string())?;
    let inflated = out.len() as u64;
    if inflated > limit {
        return Err(format!("inflates to far more than the file's size allows: to more than {limit} bytes"));
    }
    budget.take(inflated).map_err(|error: OverBudget| error.to_string())?;
    Ok(out)
}

/// The pickle inside a file that joblib compressed; `None` when it is not compressed.
///
/// # Errors
/// A [`Fault`] for an unsupported compression, a broken stream, or one that exceeds its limit.
pub(crate) fn joblib(bytes: &[u8], budget: &LoadBudget) -> Result<Option<Vec<u8>>, Fault> {
    let other = match bytes {
        [0x1f, 0x8b, ..] => return inflated("gzip", bytes.len(), budget, MultiGzDecoder::new(bytes)),
        // zlib's header is a multiple of 31
        [0x78, flags, ..] if (0x7800 | u16::from(*flags)).is_multiple_of(31) => {
            return inflated("zlib", bytes.len(), budget, ZlibDecoder::new(bytes));
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

fn inflated(kind: &str, size: usize, budget: &LoadBudget, source: impl Read) -> Result<Option<Vec<u8>>, Fault> {
    within(limit(size), budget, source).map(Some).map_err(|e| Fault::new("", format!("{kind}: {e}")))
}

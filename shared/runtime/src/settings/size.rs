//! `#[serde(with = "forebay_runtime::size")]`: bytes written `"512B"`, `"64KiB"`, `"1MiB"`, into a `usize`, `u64` or `u32`.

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Reads a size in bytes.
///
/// # Errors
/// When the text is not a size, or it does not fit the type.
pub fn deserialize<'de, T: TryFrom<u64>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = text.trim().parse::<ByteSize>().map_err(|_| {
        D::Error::custom(format!("{text:?} is not a size, expected a number with a unit such as \"512B\" or \"64KiB\""))
    })?;
    T::try_from(bytes.as_u64()).map_err(|_| D::Error::custom(format!("{text:?} is too large")))
}

/// Writes a size in the form that [`deserialize`] reads.
///
/// # Errors
/// Those of the serializer.
pub fn serialize<T: Copy + TryInto<u64>, S: Serializer>(size: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&ByteSize::b((*size).try_into().unwrap_or(u64::MAX)))
}

//! Durations, sizes and addresses as settings write them: text, mostly with a unit.

use serde::de::IntoDeserializer as _;
use serde::{Deserialize as _, Deserializer};

pub mod duration {
    //! `#[serde(with = "forebay_runtime::duration")]`: a [`Duration`] written `"500ms"`, `"10s"`, `"2m"`, `"1h 30m"`.

    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Reads a duration.
    ///
    /// # Errors
    /// If the text is not a duration with a unit.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse(&text).map_err(D::Error::custom)
    }

    /// Writes a duration in the form that [`deserialize`] reads.
    ///
    /// # Errors
    /// The errors of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }

    fn parse(text: &str) -> Result<Duration, String> {
        humantime::parse_duration(text.trim()).map_err(|_| {
            format!("{text:?} is not a duration, expected a number with a unit such as \"500ms\", \"10s\" or \"2m\"")
        })
    }
}

pub mod size {
    //! `#[serde(with = "forebay_runtime::size")]`: a number of bytes written `"512B"`, `"64KiB"`, `"1MiB"`, into a
    //! `usize`, `u64` or `u32`.

    use bytesize::ByteSize;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Reads a size in bytes.
    ///
    /// # Errors
    /// If the text is not a size, or the type cannot hold it.
    pub fn deserialize<'de, T: TryFrom<u64>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = text.trim().parse::<ByteSize>().map_err(|_| {
            D::Error::custom(format!(
                "{text:?} is not a size, expected a number with a unit such as \"512B\" or \"64KiB\""
            ))
        })?;
        T::try_from(bytes.as_u64()).map_err(|_| D::Error::custom(format!("{text:?} is too large")))
    }

    /// Writes a size in the form that [`deserialize`] reads.
    ///
    /// # Errors
    /// The errors of the serializer.
    pub fn serialize<T: Copy + TryInto<u64>, S: Serializer>(size: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&ByteSize::b((*size).try_into().unwrap_or(u64::MAX)))
    }
}

pub mod address {
    //! `#[serde(with = "forebay_runtime::address")]`: where a server listens, an IP address and a port.

    use std::net::SocketAddr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    /// Reads an address.
    ///
    /// # Errors
    /// If the text is not an IP address and a port.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.trim().parse().map_err(|_| {
            D::Error::custom(format!(
                "{text:?} is not an IP address and a port, expected one such as \"127.0.0.1:8080\", \"0.0.0.0:8080\" or \"[::]:8080\""
            ))
        })
    }

    /// Writes an address in the form that [`deserialize`] reads.
    ///
    /// # Errors
    /// The errors of the serializer.
    pub fn serialize<S: Serializer>(address: &SocketAddr, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(address)
    }
}

/// Reads a size in bytes as [`size`] does, or `None` from `"auto"`.
pub(super) fn auto_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.trim() {
        "auto" => Ok(None),
        text => size::deserialize(text.into_deserializer()).map(Some),
    }
}

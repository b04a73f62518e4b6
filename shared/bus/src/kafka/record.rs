//! Records of clients, unparsed.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use forebay_contract::Lane;
use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedMessage};

use super::client::LARGEST_RESPONSE;
use super::ffi::for_each_header;

/// The header that keeps the bytes of the name before it, which is not UTF-8 and is shown with replacement characters.
pub(super) const FOREIGN_NAME: &str = "forebay-header-name";

/// What a header takes in memory beside the bytes of its name and its value.
const HEADER_BYTES: usize = 128;

/// Records of one lane taken together, in the order of their partitions.
#[derive(Debug, Default)]
pub struct RawBatch {
    /// The lane whose topic they come from.
    pub lane: Lane,
    /// The records.
    pub records: Vec<RawRecord>,
    /// A time since which all of them were written, Unix microseconds: none was in its topic when its partition was
    /// assigned then. 0 if that is not known.
    pub written_since_us: u64,
}

/// One record.
#[derive(Clone, Debug)]
pub struct RawRecord {
    /// The value; empty for a tombstone.
    pub payload: Bytes,
    /// The key.
    pub key: Option<Bytes>,
    /// Partition of the source topic.
    pub partition: u32,
    /// Offset in the partition.
    pub offset: u64,
    /// Record timestamp in milliseconds, -1 when there is none.
    pub timestamp_ms: i64,
    /// Headers in the order of the record.
    pub headers: Vec<(String, Bytes)>,
}

impl RawRecord {
    /// A record of this process, which has no offset or time yet.
    pub(crate) fn of(record: &OwnedMessage) -> Self {
        Self {
            payload: Bytes::copy_from_slice(record.payload().unwrap_or_default()),
            key: record.key().map(Bytes::copy_from_slice),
            partition: u32::try_from(record.partition()).unwrap_or(0),
            offset: 0,
            timestamp_ms: -1,
            headers: record.headers().map_or_else(Vec::new, copy_headers),
        }
    }

    /// Bytes that are held beside the value: of the key, and of the headers with what each takes in memory.
    pub(crate) fn bytes_beside_value(&self) -> usize {
        let header = |(name, value): &(String, Bytes)| HEADER_BYTES + name.len() + value.len();
        self.key.as_ref().map_or(0, Bytes::len) + self.headers.iter().map(header).sum::<usize>()
    }

    /// The last header of that name.
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

/// Copies a record out of the client's buffers; `arena` serves the values of a whole batch from few allocations. Of a
/// compressed value that is larger than any record could be, only the beginning is copied.
pub(crate) fn copy_record(message: &BorrowedMessage<'_>, arena: &mut BytesMut) -> RawRecord {
    let payload = message.payload().unwrap_or_default();
    arena.extend_from_slice(payload.get(..LARGEST_RESPONSE).unwrap_or(payload));
    let mut headers = Vec::new();
    for_each_header(message, |name, value| {
        let text = String::from_utf8_lossy(name);
        let foreign = matches!(text, Cow::Owned(_));
        headers.push((text.into_owned(), Bytes::copy_from_slice(value)));
        if foreign {
            headers.push((FOREIGN_NAME.to_owned(), Bytes::copy_from_slice(name)));
        }
    });
    RawRecord {
        payload: arena.split().freeze(),
        key: message.key().map(Bytes::copy_from_slice),
        partition: message.partition().unsigned_abs(),
        offset: message.offset().unsigned_abs(),
        timestamp_ms: message.timestamp().to_millis().unwrap_or(-1),
        headers,
    }
}

fn copy_headers(headers: &impl Headers) -> Vec<(String, Bytes)> {
    let copy =
        |header: Header<'_, &[u8]>| (header.key.to_owned(), Bytes::copy_from_slice(header.value.unwrap_or_default()));
    headers.iter().map(copy).collect()
}

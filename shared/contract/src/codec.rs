//! Encodes and decodes batches. The layout is the message `Batch` of the schema; it is written here without building that
//! message first, because a batch is encoded and decoded on every edge.

use bytes::{Buf, Bytes};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::wire;
use crate::{Batch, Context, Item, MAX_BATCH_ITEMS};

/// Why a record is not a batch.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The frame of the record is broken.
    #[error("not a batch: {0}")]
    Frame(prost::DecodeError),
    /// One item is broken.
    #[error("item {index}: {part} cannot be decoded: {source}")]
    Item {
        /// Position in the batch.
        index: usize,
        /// `context` or `payload`.
        part: &'static str,
        /// The error of the decoder.
        source: prost::DecodeError,
    },
    /// The record has no items, or more than a stage takes permits for.
    #[error("a batch holds 1 to {MAX_BATCH_ITEMS} items, this one {0}")]
    Count(usize),
}

const BATCH_PARTITION: u32 = 1;
const STAGES: u32 = 2;
const ITEMS: u32 = 3;
const CONTEXT: u32 = 1;
const PARENT_SPAN: u32 = 2;
const ATTEMPT: u32 = 3;
const PAYLOAD: u32 = 4;

fn delimited_len(tag: u32, len: usize) -> usize {
    key_len(tag) + encoded_len_varint(len as u64) + len
}

fn item_len<P: Message>(item: &Item<P>, payload: usize) -> usize {
    let mut len = delimited_len(CONTEXT, item.context.encoded().len()) + delimited_len(PAYLOAD, payload);
    if item.parent_span != 0 {
        len += key_len(PARENT_SPAN) + 8;
    }
    if item.attempt != 0 {
        len += key_len(ATTEMPT) + encoded_len_varint(u64::from(item.attempt));
    }
    len
}

fn delimited(tag: u32, len: usize, out: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(len as u64, out);
}

/// Appends the record of `batch` to `out`.
pub fn encode<P: Message>(batch: &Batch<P>, out: &mut Vec<u8>) {
    if batch.batch_partition != 0 {
        prost::encoding::uint32::encode(BATCH_PARTITION, &batch.batch_partition, out);
    }
    prost::encoding::message::encode_repeated(STAGES, &batch.stages, out);
    for item in &batch.items {
        let payload = item.payload.encoded_len();
        delimited(ITEMS, item_len(item, payload), out);
        delimited(CONTEXT, item.context.encoded().len(), out);
        out.extend_from_slice(item.context.encoded());
        if item.parent_span != 0 {
            prost::encoding::fixed64::encode(PARENT_SPAN, &item.parent_span, out);
        }
        if item.attempt != 0 {
            prost::encoding::uint32::encode(ATTEMPT, &item.attempt, out);
        }
        delimited(PAYLOAD, payload, out);
        item.payload.encode_raw(out);
    }
}

/// Decodes a record. Contexts and byte fields share the record's buffer.
///
/// # Errors
/// Names the item and the part that is broken; never panics.
pub fn decode<P: Message + Default>(record: impl Into<Bytes>) -> Result<Batch<P>, DecodeError> {
    let mut record: Bytes = record.into();
    let frame = wire::Batch::decode(&mut record).map_err(DecodeError::Frame)?;
    debug_assert!(!record.has_remaining());
    if frame.items.is_empty() || frame.items.len() > MAX_BATCH_ITEMS {
        return Err(DecodeError::Count(frame.items.len()));
    }
    // a collected `Result` would not know its length, and items are large
    let mut items = Vec::with_capacity(frame.items.len());
    for (index, item) in frame.items.into_iter().enumerate() {
        let broken = |part| move |source| DecodeError::Item { index, part, source };
        items.push(Item {
            context: Context::decode(item.context).map_err(broken("context"))?,
            parent_span: item.parent_span,
            attempt: item.attempt,
            payload: P::decode(item.payload).map_err(broken("payload"))?,
        });
    }
    Ok(Batch { batch_partition: frame.batch_partition, stages: frame.stages, items })
}

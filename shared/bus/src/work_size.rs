//! How much memory unfinished work counts for, which is not known exactly before it has been read.

/// Bytes that a request of a client takes besides its value.
const REQUEST_BYTES: u64 = 512;
/// A client's JSON may take so many times its size: `0,` becomes a number of 8 bytes, which is there as it was parsed and as it
/// is encoded.
const JSON_GROWTH: u64 = 10;
/// Bytes that an item takes besides its part of the record.
const ITEM_BYTES: u64 = 256;
/// A record between stages is there so many times: as it came, decoded, and encoded for the next stage with what that needs.
const BATCH_COPIES: u64 = 4;

/// What a record of `bytes` with a batch of `items` takes while it is in flight.
pub(crate) fn bytes_of_batch(bytes: usize, items: usize) -> u64 {
    (bytes as u64).saturating_mul(BATCH_COPIES) + items as u64 * ITEM_BYTES
}

/// What requests of clients with `bytes` of JSON in all take while they are in flight.
pub(crate) fn bytes_of_json(bytes: usize, requests: usize) -> u64 {
    (bytes as u64).saturating_mul(JSON_GROWTH) + requests as u64 * REQUEST_BYTES
}

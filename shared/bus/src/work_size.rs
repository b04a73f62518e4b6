//! How much memory unfinished work counts for, which is not known exactly before it has been read.

/// Bytes that a row of a client takes besides its value.
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

/// What `rows` of clients with `bytes` of JSON in all take while they are in flight.
pub(crate) fn bytes_of_json(bytes: usize, rows: usize) -> u64 {
    (bytes as u64).saturating_mul(JSON_GROWTH) + rows as u64 * REQUEST_BYTES
}

/// The most rows that a record may have with this value, where it may have `max_rows`. A row in JSON is an array or an
/// object; behind the id of a schema, whose first byte is zero, it takes two bytes and more.
pub(crate) fn most_rows(value: &[u8], max_rows: usize) -> usize {
    if max_rows <= 1 {
        return 1;
    }
    let rows = match value.first() {
        Some(0) => value.len() / 2,
        _ => value.iter().filter(|byte| matches!(byte, b'[' | b'{')).count(),
    };
    rows.clamp(1, max_rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_where_a_record_may_have_many() {
        let json = br#"{"features":[[1],[2],[3]]}"#;
        assert_eq!([1, 4, 1024].map(|most| most_rows(json, most)), [1, 4, 5]);
        assert_eq!([&b""[..], b"[1]", &[0; 100]].map(|value| most_rows(value, 64)), [1, 1, 50]);
    }
}

//! Identities of a request, of one of its rows, and of a cached answer.

use std::fmt;

use crate::wire::Value;
use crate::wire::value::Kind;

/// Identity of a request, 128 bits. A second request with the same id is a replay and is answered once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub [u8; 16]);

impl RequestId {
    /// The id of a request that cannot be replayed: HTTP without `Idempotency-Key`.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// The id of a Kafka record. The timestamp distinguishes it from a record at the same offset of a re-created topic.
    pub fn of_record(topic: &str, partition: u32, offset: u64, timestamp_ms: i64) -> Self {
        let mut hash = blake3::Hasher::new_derive_key("forebay 2026 ask of record");
        hash.update(&(topic.len() as u64).to_le_bytes()).update(topic.as_bytes());
        hash.update(&partition.to_le_bytes()).update(&offset.to_le_bytes()).update(&timestamp_ms.to_le_bytes());
        Self::first_half(&hash)
    }

    /// The id of a request with a key of the caller: `Idempotency-Key`, or a request id where settings say so.
    pub fn of_key(caller: &str, key: &str) -> Self {
        let mut hash = blake3::Hasher::new_derive_key("forebay 2026 ask of key");
        hash.update(&(caller.len() as u64).to_le_bytes()).update(caller.as_bytes()).update(key.as_bytes());
        Self::first_half(&hash)
    }

    /// Reads 16 bytes; `None` for any other length.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Result partition of a request that did not come from a Kafka record.
    pub fn result_partition(&self, partitions: u32) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_le_bytes([a, b, c, d]) % partitions.max(1)
    }

    fn first_half(hash: &blake3::Hasher) -> Self {
        let mut id = [0; 16];
        hash.finalize_xof().fill(&mut id);
        Self(id)
    }
}

/// Displays bytes as lower-case hexadecimal, two digits each.
#[derive(Clone, Copy, Debug)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Writes 32 lower-case hexadecimal digits.
impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Hex(&self.0), f)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Identity of one row of a request: what is answered exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ItemId {
    /// The request.
    pub request_id: RequestId,
    /// The row in it, from 0.
    pub row: u32,
}

/// Identity of an answer in the cache: equal keys may share one inference.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CacheKey(pub [u8; 32]);

impl CacheKey {
    /// The key of the same row for callers who share answers only inside of `scope`.
    pub fn of_scope(&self, scope: &[u8]) -> Self {
        let mut hash = blake3::Hasher::new_derive_key("forebay 2026 cache key of scope");
        hash.update(&self.0).update(scope);
        Self(*hash.finalize().as_bytes())
    }

    /// Reads 32 bytes; `None` for any other length.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Hex(&self.0), f)
    }
}

/// Builds the cache keys of one version; everything but the row is hashed once.
#[derive(Clone, Debug)]
pub struct CacheKeyBuilder(blake3::Hasher);

impl CacheKeyBuilder {
    /// `digest` is the content digest of the version's files, `preprocessing` that of its preprocessing artefact.
    pub fn new(model: &str, version: u32, digest: &[u8; 32], preprocessing: &str) -> Self {
        let mut hash = blake3::Hasher::new_derive_key("forebay 2026 cache key");
        hash.update(&(model.len() as u64).to_le_bytes()).update(model.as_bytes());
        hash.update(&version.to_le_bytes()).update(digest);
        hash.update(&(preprocessing.len() as u64).to_le_bytes()).update(preprocessing.as_bytes());
        Self(hash)
    }

    /// Key of a row by the exact bits of its values, so that 0.0 and -0.0 have different keys.
    pub fn key(&self, row: &[f64]) -> CacheKey {
        let mut hash = self.0.clone();
        let mut bytes = [0u8; 512];
        for values in row.chunks(bytes.len() / 8) {
            for (slot, value) in bytes.chunks_exact_mut(8).zip(values) {
                slot.copy_from_slice(&value.to_bits().to_le_bytes());
            }
            hash.update(&bytes[..values.len() * 8]);
        }
        CacheKey(*hash.finalize().as_bytes())
    }

    /// Key of a row that has more than numbers.
    pub fn key_of_values(&self, row: &[Value]) -> CacheKey {
        let mut hash = self.0.clone();
        // no row of numbers has a length that is not a multiple of 8
        hash.update(b"values");
        for value in row {
            let (kind, bytes) = match &value.kind {
                None => (0u8, [0; 8]),
                Some(Kind::Float(value)) => (1, value.to_bits().to_le_bytes()),
                Some(Kind::Integer(value)) => (2, value.to_le_bytes()),
                Some(Kind::Boolean(value)) => (3, u64::from(*value).to_le_bytes()),
                Some(Kind::Text(text)) => (4, (text.len() as u64).to_le_bytes()),
            };
            hash.update(&[kind]).update(&bytes);
            if let Some(Kind::Text(text)) = &value.kind {
                hash.update(text.as_bytes());
            }
        }
        CacheKey(*hash.finalize().as_bytes())
    }
}

impl CacheKey {
    /// The key of another output than `predict` for the same row.
    pub fn of_output(&self, output: &str) -> Self {
        let mut hash = blake3::Hasher::new_derive_key("forebay 2026 cache key of output");
        hash.update(&self.0).update(output.as_bytes());
        Self(*hash.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_of_a_record_depends_on_every_part() {
        let base = RequestId::of_record("t", 0, 1, 2);
        assert_eq!(base, RequestId::of_record("t", 0, 1, 2));
        for other in [
            RequestId::of_record("u", 0, 1, 2),
            RequestId::of_record("t", 1, 1, 2),
            RequestId::of_record("t", 0, 2, 2),
            RequestId::of_record("t", 0, 1, 3),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn a_key_depends_on_the_exact_bits() {
        let keys = CacheKeyBuilder::new("m", 1, &[0; 32], "");
        let base = keys.key(&[0.0, 1.0]);
        assert_eq!(base, keys.key(&[0.0, 1.0]));
        assert_ne!(base, keys.key(&[-0.0, 1.0]));
        assert_ne!(base, keys.key(&[0.0, 1.0 + f64::EPSILON]));
        assert_ne!(base, CacheKeyBuilder::new("m", 2, &[0; 32], "").key(&[0.0, 1.0]));
        assert_ne!(base, CacheKeyBuilder::new("m", 1, &[1; 32], "").key(&[0.0, 1.0]));
        assert_ne!(base, CacheKeyBuilder::new("m", 1, &[0; 32], "p").key(&[0.0, 1.0]));
        assert_ne!(base, base.of_output("predict_proba"));
        assert_ne!(base.of_output("predict_proba"), base.of_output("decision_function"));
    }

    #[test]
    fn a_key_of_values_depends_on_kind_and_place() {
        let keys = CacheKeyBuilder::new("m", 1, &[0; 32], "");
        let key = |row: &[Value]| keys.key_of_values(row);
        let base = key(&[Value::text("a"), Value::text("b")]);
        assert_eq!(base, key(&[Value::text("a"), Value::text("b")]));
        for other in [
            key(&[Value::text("ab"), Value::text("")]),
            key(&[Value::text("b"), Value::text("a")]),
            key(&[Value::text("a"), Value::MISSING]),
            key(&[Value::text("a")]),
            keys.key(&[0.0, 1.0]),
        ] {
            assert_ne!(base, other);
        }
        assert_ne!(key(&[Value::integer(1)]), key(&[Value::boolean(true)]));
        assert_ne!(key(&[Value::integer(1)]), key(&[Value::text("1")]));
        let long: Vec<f64> = (0..200).map(f64::from).collect();
        let mut other = long.clone();
        other[150] = -1.0;
        assert_ne!(keys.key(&long), keys.key(&other));
    }
}

//! A cached answer and its encoding.
//!
//! Layout in bytes, little endian: format (1), flags (1), model length (2), version (4), value (8), label length (2),
//! number of probabilities (2), model, label, probabilities (8 each), checksum (8). The checksum is keyed with the
//! cache key, so that bytes stored under another key are rejected, too.
//!
//! An answer that is more than a number or a text with probabilities has format 2: format (1), zero (1), model length (2),
//! version (4), model, the message `Score`, checksum (8). Builds that do not know it look the row up again.

use forebay_contract::{Answer, CacheKey, Features, Score};
use prost::Message as _;

/// Largest encoding: larger entries are not written to the L2 cache, and larger values are not read.
pub(crate) const MAX_BYTES: usize = 16 * 1024;

const FORMAT: u8 = 1;
const MESSAGE_FORMAT: u8 = 2;
const HAS_LABEL: u8 = 1;
const HEAD: usize = 20;
const CHECKSUM: usize = 8;

/// The answer of a model version to one row.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheEntry {
    /// The model.
    pub model: String,
    /// The version that computed the score.
    pub version: u32,
    /// The score.
    pub score: Score,
}

/// Why bytes cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CorruptEntry {
    /// The value is too short or too long, or its lengths do not add up.
    #[error("wrong size")]
    Size,
    /// The value was written by a build with another format.
    #[error("unknown format")]
    Format,
    /// The value is damaged, or was stored under another key.
    #[error("wrong checksum")]
    Checksum,
    /// A text is not UTF-8, or a number is not finite.
    #[error("invalid content")]
    Content,
}

impl CacheEntry {
    /// Whether this is the answer of the model and version that `features` is pinned to.
    pub fn answers(&self, features: &Features) -> bool {
        self.version == features.version && self.model == features.model
    }

    /// The answer to `features`, with the model and label that its request used.
    pub(crate) fn answer(&self, features: Features) -> Answer {
        let Features { model, version, label, fallback_from, .. } = features;
        Answer { score: Some(self.score.clone()), model, version, label, fallback_from, cached: true }
    }

    /// Whether all numbers are finite. Other entries are never stored.
    pub(crate) fn is_finite(&self) -> bool {
        let Score { value, probabilities, numbers, .. } = &self.score;
        value.is_finite() && probabilities.iter().chain(numbers).all(|number| number.is_finite())
    }

    /// Approximate size on the heap, in bytes.
    pub(crate) fn heap_size(&self) -> usize {
        let label = self.score.label.as_ref().map_or(0, String::capacity);
        let Score { probabilities, numbers, labels, names, classes, predicted, .. } = &self.score;
        let texts: usize = labels.iter().chain(classes).chain(predicted).map(|label| label.text.capacity() + 32).sum();
        let names: usize = names.iter().map(|name| name.capacity() + 24).sum();
        self.model.capacity() + label + (probabilities.capacity() + numbers.capacity()) * 8 + texts + names
    }

    /// Whether the first format holds the score.
    fn is_plain(&self) -> bool {
        let Score { value: _, label: _, probabilities: _, label_kind, numbers, labels, names, classes, predicted } =
            &self.score;
        let lists = [numbers.is_empty(), labels.is_empty(), names.is_empty(), classes.is_empty()];
        *label_kind == 0 && lists.iter().all(|empty| *empty) && predicted.is_none()
    }

    fn encode_message(&self, key: &CacheKey) -> Option<Vec<u8>> {
        let size = 8 + self.model.len() + self.score.encoded_len() + CHECKSUM;
        if size > MAX_BYTES {
            return None;
        }
        let mut out = Vec::with_capacity(size);
        out.extend([MESSAGE_FORMAT, 0]);
        out.extend_from_slice(&u16::try_from(self.model.len()).ok()?.to_le_bytes());
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(self.model.as_bytes());
        self.score.encode_raw(&mut out);
        let sum = checksum(key, &out);
        out.extend_from_slice(&sum);
        Some(out)
    }

    fn decode_message(mut rest: &[u8]) -> Result<Self, CorruptEntry> {
        let model_length = usize::from(u16::from_le_bytes(take(&mut rest)?));
        let version = u32::from_le_bytes(take(&mut rest)?);
        let model = text(&mut rest, model_length)?;
        let score = Score::decode(rest).map_err(|_| CorruptEntry::Content)?;
        let entry = Self { model, version, score };
        if entry.is_finite() { Ok(entry) } else { Err(CorruptEntry::Content) }
    }

    /// Encodes the entry for `key`; `None` if it is larger than 16 KiB.
    pub fn encode(&self, key: &CacheKey) -> Option<Vec<u8>> {
        if !self.is_plain() {
            return self.encode_message(key);
        }
        let label = self.score.label.as_deref().unwrap_or_default();
        let probabilities = &self.score.probabilities;
        let size = HEAD + self.model.len() + label.len() + probabilities.len() * 8 + CHECKSUM;
        if size > MAX_BYTES {
            return None;
        }
        let short = |length: usize| u16::try_from(length).ok();
        let mut out = Vec::with_capacity(size);
        out.push(FORMAT);
        out.push(if self.score.label.is_some() { HAS_LABEL } else { 0 });
        out.extend_from_slice(&short(self.model.len())?.to_le_bytes());
        out.extend_from_slice(&self.version.to_le_bytes());
        out.extend_from_slice(&self.score.value.to_le_bytes());
        out.extend_from_slice(&short(label.len())?.to_le_bytes());
        out.extend_from_slice(&short(probabilities.len())?.to_le_bytes());
        out.extend_from_slice(self.model.as_bytes());
        out.extend_from_slice(label.as_bytes());
        for probability in probabilities {
            out.extend_from_slice(&probability.to_le_bytes());
        }
        let sum = checksum(key, &out);
        out.extend_from_slice(&sum);
        Some(out)
    }

    /// Decodes a value that was found under `key`.
    ///
    /// # Errors
    /// Returns an error for all bytes that were not encoded for this key. Never panics.
    pub fn decode(key: &CacheKey, bytes: &[u8]) -> Result<Self, CorruptEntry> {
        if bytes.len() > MAX_BYTES {
            return Err(CorruptEntry::Size);
        }
        let (body, sum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(CorruptEntry::Size)?;
        let mut rest = body;
        let [format, flags] = take::<2>(&mut rest)?;
        if format != FORMAT && format != MESSAGE_FORMAT {
            return Err(CorruptEntry::Format);
        }
        if checksum(key, body) != *sum {
            return Err(CorruptEntry::Checksum);
        }
        if format == MESSAGE_FORMAT {
            return Self::decode_message(rest);
        }
        let model_length = usize::from(u16::from_le_bytes(take(&mut rest)?));
        let version = u32::from_le_bytes(take(&mut rest)?);
        let value = f64::from_le_bytes(take(&mut rest)?);
        let label_length = usize::from(u16::from_le_bytes(take(&mut rest)?));
        let count = usize::from(u16::from_le_bytes(take(&mut rest)?));
        let model = text(&mut rest, model_length)?;
        let label = text(&mut rest, label_length)?;
        if rest.len() != count * 8 {
            return Err(CorruptEntry::Size);
        }
        let (numbers, _) = rest.as_chunks::<8>();
        let probabilities = numbers.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
        let label = (flags & HAS_LABEL != 0).then_some(label);
        let entry = Self { model, version, score: Score { value, label, probabilities, ..Score::default() } };
        if entry.is_finite() { Ok(entry) } else { Err(CorruptEntry::Content) }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], CorruptEntry> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or(CorruptEntry::Size)?;
    *rest = tail;
    Ok(*head)
}

fn text(rest: &mut &[u8], length: usize) -> Result<String, CorruptEntry> {
    let (head, tail) = rest.split_at_checked(length).ok_or(CorruptEntry::Size)?;
    *rest = tail;
    std::str::from_utf8(head).map(str::to_owned).map_err(|_| CorruptEntry::Content)
}

fn checksum(key: &CacheKey, body: &[u8]) -> [u8; CHECKSUM] {
    let [a, b, c, d, e, f, g, h, ..] = *blake3::keyed_hash(&key.0, body).as_bytes();
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: CacheKey = CacheKey([7; 32]);

    fn entry() -> CacheEntry {
        let score =
            Score { value: 152.25, label: Some("high".into()), probabilities: vec![0.25, 0.75], ..Score::default() };
        CacheEntry { model: "diabetes-rf-model".into(), version: 3, score }
    }

    #[test]
    fn reads_back_under_its_key_only() {
        let bytes = entry().encode(&KEY).unwrap();
        assert_eq!(CacheEntry::decode(&KEY, &bytes), Ok(entry()));
        assert_eq!(CacheEntry::decode(&CacheKey([8; 32]), &bytes), Err(CorruptEntry::Checksum));
    }

    #[test]
    fn no_label_is_not_an_empty_label() {
        for label in [None, Some(String::new())] {
            let mut one = entry();
            one.score.label = label;
            assert_eq!(CacheEntry::decode(&KEY, &one.encode(&KEY).unwrap()), Ok(one));
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let bytes = entry().encode(&KEY).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(CacheEntry::decode(&KEY, &damaged).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(CacheEntry::decode(&KEY, &bytes[..length]).is_err(), "cut to {length}");
        }
    }

    #[test]
    fn typed_and_several_answers_read_back() {
        let label = forebay_contract::ClassLabel::Integer(3).to_wire();
        let several = Score { labels: vec![label.clone(), label.clone()], value: 3.0, ..Score::default() };
        let typed = Score { label: Some("1".into()), label_kind: label.kind, ..Score::default() };
        let numbers = Score {
            numbers: vec![0.5, 1.5],
            names: vec!["a".into(), "b".into()],
            classes: vec![label],
            ..Score::default()
        };
        for score in [several, typed, numbers] {
            let entry = CacheEntry { score, ..entry() };
            let bytes = entry.encode(&KEY).unwrap();
            assert_eq!((bytes[0], CacheEntry::decode(&KEY, &bytes)), (MESSAGE_FORMAT, Ok(entry.clone())));
            for cut in 0..bytes.len() {
                assert!(CacheEntry::decode(&KEY, &bytes[..cut]).is_err());
            }
            let mut body = bytes[..bytes.len() - CHECKSUM].to_vec();
            body[2..4].copy_from_slice(&u16::MAX.to_le_bytes());
            body.extend(checksum(&KEY, &body.clone()));
            assert_eq!(CacheEntry::decode(&KEY, &body), Err(CorruptEntry::Size));
        }
        let odd = Score { numbers: vec![f64::NAN, 1.0], ..Score::default() };
        let odd = CacheEntry { score: odd, ..entry() };
        assert_eq!(CacheEntry::decode(&KEY, &odd.encode(&KEY).unwrap()), Err(CorruptEntry::Content));
    }

    #[test]
    fn a_forged_checksum_does_not_make_lengths_trusted() {
        let mut body = entry().encode(&KEY).unwrap();
        body.truncate(body.len() - CHECKSUM);
        body[2..4].copy_from_slice(&u16::MAX.to_le_bytes());
        let sum = checksum(&KEY, &body);
        body.extend_from_slice(&sum);
        assert_eq!(CacheEntry::decode(&KEY, &body), Err(CorruptEntry::Size));
    }

    #[test]
    fn large_entries_are_neither_written_nor_read() {
        let mut large = entry();
        large.score.probabilities = vec![0.5; MAX_BYTES];
        assert_eq!(large.encode(&KEY), None);
        assert_eq!(CacheEntry::decode(&KEY, &vec![FORMAT; MAX_BYTES + 1]), Err(CorruptEntry::Size));
    }

    #[test]
    fn a_number_that_is_not_finite_is_refused() {
        let mut odd = entry();
        odd.score.value = f64::NAN;
        assert!(!odd.is_finite());
        assert_eq!(CacheEntry::decode(&KEY, &odd.encode(&KEY).unwrap()), Err(CorruptEntry::Content));
    }

    proptest! {
        #[test]
        fn any_bytes_are_rejected_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(CacheEntry::decode(&KEY, &bytes).is_err());
        }

        #[test]
        fn any_entry_reads_back(
            model in ".{0,40}", version: u32, value in -1e300..1e300f64,
            label in proptest::option::of(".{0,40}"), probabilities in proptest::collection::vec(0.0..1.0f64, 0..20),
        ) {
            let entry = CacheEntry { model, version, score: Score { value, label, probabilities, ..Score::default() } };
            prop_assert_eq!(CacheEntry::decode(&KEY, &entry.encode(&KEY).unwrap()), Ok(entry));
        }
    }
}

//! What is recorded of a request that is answered later.

use std::fmt;

use bytes::Bytes;
use forebay_contract::Hex;
use serde::{Deserialize, Serialize};

/// Names a request that is answered later, and is all that a caller without credentials needs to read its answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ResultId([u8; 16]);

impl ResultId {
    /// 128 random bits.
    pub(crate) fn random() -> Self {
        Self(rand::random())
    }

    /// The same for every request with this `Idempotency-Key` of `owner` and this payload, so that one that is sent again
    /// gets the same place. Who can compute it has all that the answer depends on.
    pub(crate) fn of_key(owner: &str, key: &str, payload: &[u8; 16]) -> Self {
        let mut hash = blake3::Hasher::new_derive_key("forebay 2026 result of key");
        for text in [owner, key] {
            hash.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
        }
        let mut id = [0; 16];
        hash.update(payload).finalize_xof().fill(&mut id);
        Self(id)
    }

    /// The path of the answer.
    pub(crate) fn location(self) -> String {
        format!("/v1/results/{self}")
    }

    /// Reads what [`ResultId`] displays.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits: &[u8; 32] = text.as_bytes().try_into().ok()?;
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        let mut id = [0; 16];
        for (byte, [high, low]) in id.iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = value(*high)? << 4 | value(*low)?;
        }
        Some(Self(id))
    }
}

/// 32 lower-case hexadecimal digits.
impl fmt::Display for ResultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

/// The beginning alone: logs are no place for what opens an answer.
impl fmt::Debug for ResultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..", Hex(&self.0[..4]))
    }
}

/// A request, as another replica needs it to send it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Submission {
    /// Who may read the answer: the identity of the caller, empty for callers without credentials.
    pub owner: String,
    /// How it is sent.
    pub head: SubmissionHead,
    /// The body of `POST /v1/predict`, decompressed.
    pub body: Bytes,
}

/// What is left to do for a request of a replica that died.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unfinished {
    /// There is no answer yet.
    Request(Submission),
    /// The answer is to be posted to this address.
    Callback(String),
    /// It was taken over too often.
    Hopeless {
        /// Who may read the answer.
        owner: String,
        /// Where it is posted as well.
        callback: Option<String>,
    },
}

/// What a request says beside its body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SubmissionHead {
    /// The caller's `Idempotency-Key`, else one of its own: a request that is sent again is answered once.
    pub idempotency_key: String,
    /// The caller's `X-Forebay-Key`.
    pub split_key: Option<String>,
    /// Where the answer is posted as well.
    #[serde(default)]
    pub callback: Option<String>,
    /// The span of the entry point, as `traceparent`.
    pub trace: String,
    /// When the request arrived, Unix microseconds.
    pub arrived_us: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip_and_other_texts_are_none() {
        let id = ResultId::random();
        assert_eq!(ResultId::parse(&id.to_string()), Some(id));
        assert!(!id.to_string().is_empty() && format!("{id:?}").len() == 10);
        let text = id.to_string();
        for wrong in ["", &text[1..], &format!("{text}0"), &text.replace(&text[..1], "G"), "é".repeat(16).as_str()] {
            assert_eq!(ResultId::parse(wrong), None, "{wrong}");
        }
    }
}

//! What is kept of an answer.

use forebay_contract::{ErrorCode, Problem};

/// Most bytes of an answer.
pub(crate) const MAX_ANSWER_BYTES: usize = 1 << 20;

/// An answer as it was, or would have been, sent to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredAnswer {
    /// HTTP status.
    pub status: u16,
    /// The body, JSON.
    pub json: Vec<u8>,
}

impl StoredAnswer {
    /// Checks that an answer of `json` can be kept.
    ///
    /// # Errors
    /// `payload_too_large` if not.
    pub(crate) fn check(json: &[u8]) -> Result<(), Problem> {
        if json.len() <= MAX_ANSWER_BYTES {
            return Ok(());
        }
        let text = format!("the answer is larger than {MAX_ANSWER_BYTES} bytes, the limit for one that is kept");
        Err(Problem::new(ErrorCode::PayloadTooLarge, text))
    }

    /// The bytes in the store: the status in three digits, then the body.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = format!("{:03}", self.status).into_bytes();
        bytes.extend_from_slice(&self.json);
        bytes
    }

    /// Reads the bytes of the store; `None` if they are not an answer.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (status, json) = bytes.split_at_checked(3)?;
        let status = std::str::from_utf8(status).ok()?.parse().ok().filter(|status| (200..600).contains(status))?;
        Some(Self { status, json: json.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_round_trip_and_other_bytes_are_none() {
        let answer = StoredAnswer { status: 404, json: b"{}".to_vec() };
        assert_eq!(StoredAnswer::decode(&answer.encode()), Some(answer));
        for bytes in [&b""[..], b"20", b"abc{}", b"999{}", b"\xff\xff\xff"] {
            assert_eq!(StoredAnswer::decode(bytes), None);
        }
    }
}

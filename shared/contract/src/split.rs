//! Which share of a weighted split between versions a request belongs to.

use crate::RequestId;

/// A sticky key: requests with the same key stay with the same version as long as its share covers their bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SplitKey(u64);

impl SplitKey {
    /// Number of buckets that the shares divide.
    pub const BUCKETS: u16 = 10_000;

    /// The key of a name that the client chose for itself, its user or its session.
    pub fn of_text(text: &str) -> Self {
        Self::first_of(blake3::Hasher::new_derive_key("forebay 2026 split key").update(text.as_bytes()))
    }

    /// The key of a request without such a name: every request is assigned independently.
    pub fn of_request(request: RequestId) -> Self {
        Self::first_of(blake3::Hasher::new_derive_key("forebay 2026 split key of ask").update(&request.0))
    }

    /// Reads the wire format; `None` for 0, which means that the client gave no key.
    pub fn from_wire(wire: u64) -> Option<Self> {
        (wire != 0).then_some(Self(wire))
    }

    /// The wire format, never 0.
    pub fn to_wire(self) -> u64 {
        self.0
    }

    /// Bucket of `model`, below [`Self::BUCKETS`]. Models are independent: a key in the first percent of one is
    /// anywhere in another.
    pub fn bucket(self, model: &str) -> u16 {
        let mut hash = blake3::Hasher::new_derive_key("forebay 2026 split bucket");
        let Self(number) = Self::first_of(hash.update(&self.0.to_le_bytes()).update(model.as_bytes()));
        (number % u64::from(Self::BUCKETS)) as u16
    }

    fn first_of(hash: &blake3::Hasher) -> Self {
        let mut first = [0; 8];
        hash.finalize_xof().fill(&mut first);
        Self(u64::from_le_bytes(first).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_even_and_models_are_independent() {
        let mut tenths = [0; 10];
        let mut both = 0;
        for user in 0..20_000 {
            let key = SplitKey::of_text(&format!("user-{user}"));
            assert_eq!(SplitKey::from_wire(key.to_wire()), Some(key));
            let (here, there) = (key.bucket("m"), key.bucket("n"));
            tenths[usize::from(here / 1000)] += 1;
            both += usize::from(here < 1000 && there < 1000);
        }
        assert!(tenths.iter().all(|count| (1800..2200).contains(count)), "{tenths:?}");
        assert!((120..280).contains(&both), "{both} of 20000 in the first tenth of both");
        assert_eq!(SplitKey::from_wire(0), None);
    }

    #[test]
    fn a_bucket_is_the_same_in_every_build() {
        let buckets = ["alice", "bob", ""].map(|text| SplitKey::of_text(text).bucket("m"));
        assert_eq!(buckets, [7788, 2182, 1239], "clients would change sides in a rollout");
    }
}

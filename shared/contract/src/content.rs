//! Which content of a version a row was prepared for.

use bytes::Bytes;

use crate::wire::Features;

/// Bytes of a content digest that a row carries.
const DIGEST_LEN: usize = 16;

impl Features {
    /// The part of a version's content digest that its rows carry.
    pub fn digest_of(content: &[u8; 32]) -> Bytes {
        Bytes::copy_from_slice(&content[..DIGEST_LEN])
    }

    /// Whether the row was prepared for this content of its version, so that a score by it may be stored under the row's
    /// key. A row from a build that sends no digest is taken to be.
    pub fn is_for_content(&self, content: &[u8; 32]) -> bool {
        self.digest.is_empty() || self.digest[..] == content[..DIGEST_LEN]
    }
}

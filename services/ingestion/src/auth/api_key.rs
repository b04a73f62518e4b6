//! The text of an API key, and the hash that is stored.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};

/// Prefix of every key, so that scanners recognise a key in a repository or a log.
const PREFIX: &str = "fby_";
/// Number of random bytes after the prefix.
const BYTES: usize = 32;

/// An API key. Only [`ApiKey::expose`] shows it.
pub struct ApiKey(String);

/// SHA-256 of the text of a key. Keys are random, so they cannot be guessed and no slow hash is needed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyHash(pub(super) [u8; 32]);

impl ApiKey {
    /// A new random key.
    ///
    /// # Errors
    /// If the system provides no random bytes.
    pub fn generate() -> Result<Self, String> {
        let mut bytes = [0; BYTES];
        SystemRandom::new().fill(&mut bytes).map_err(|_| "the system provides no random bytes".to_owned())?;
        Ok(Self(format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// The key itself, to show once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The hash that is stored.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }

    /// Whether `text` starts like an API key, and so is not a token.
    pub fn has_prefix(text: &str) -> bool {
        text.starts_with(PREFIX)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl KeyHash {
    /// The hash of the text of a key.
    pub fn of(text: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Self(hash)
    }

    /// Reads `sha256:` and 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("sha256:").filter(|digits| digits.len() == 64 && digits.is_ascii())?;
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok().filter(|pair| !pair.starts_with('+'))?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(Self(hash))
    }

    /// The first 8 bytes, by which hashes are searched.
    pub(super) fn index(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_random_and_hidden() {
        let (one, other) = (ApiKey::generate().unwrap(), ApiKey::generate().unwrap());
        assert_eq!(one.expose().len(), 47);
        assert!(ApiKey::has_prefix(one.expose()));
        assert_ne!(one.expose(), other.expose());
        assert_eq!(format!("{one:?}"), "***");
        assert_eq!(KeyHash::parse(&one.hash().to_string()), Some(one.hash()));
    }

    #[test]
    fn the_hash_equals_that_of_sha256sum() {
        // printf %s fby_test | sha256sum
        let known = "sha256:69bf9f7c1206a8e5c3fde4e7d4600f9b2d6b3719f3417e9ac72a31345b58a532";
        assert_eq!(KeyHash::of("fby_test").to_string(), known);
        for wrong in
            ["", "sha256:", &known[..70], "md5:00", &known.replace('e', "g"), &known.replacen(&known[7..8], "+", 1)]
        {
            assert_eq!(KeyHash::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_text_that_starts_with_a_key_is_another_key() {
        let key = ApiKey::generate().unwrap();
        assert_ne!(KeyHash::of(&format!("{}x", key.expose())), key.hash());
        assert_ne!(KeyHash::of(&key.expose()[..46]), key.hash());
    }
}

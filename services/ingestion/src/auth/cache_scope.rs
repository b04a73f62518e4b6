//! Which callers share cached answers.

use bytes::Bytes;

/// How cached answers are shared: by all, or by the requests of one caller.
#[derive(Clone, Copy, Debug, Default)]
pub struct CacheScopes {
    separate: bool,
}

impl CacheScopes {
    /// With `separate`, each caller has answers of its own.
    pub fn new(separate: bool) -> Self {
        Self { separate }
    }

    /// The scope of a caller: the first 16 bytes of a hash of its identity. It is empty where all share, and for requests
    /// without a caller.
    pub fn of(self, identity: &str) -> Bytes {
        if !self.separate || identity.is_empty() {
            return Bytes::new();
        }
        let mut hash = blake3::Hasher::new_derive_key("forebay 2026 cache scope of caller");
        hash.update(identity.as_bytes());
        Bytes::copy_from_slice(&hash.finalize().as_bytes()[..16])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_share_a_scope_unless_the_settings_separate_them() {
        let (shared, separate) = (CacheScopes::default(), CacheScopes::new(true));
        assert_eq!((shared.of("ann"), separate.of("")), (Bytes::new(), Bytes::new()));
        assert_eq!((separate.of("ann").len(), separate.of("ann")), (16, separate.of("ann")));
        assert_ne!(separate.of("ann"), separate.of("bob"));
    }
}

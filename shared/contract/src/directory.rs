//! Keys of the compacted topic `forebay.models`.

use std::fmt;

/// What a record of `forebay.models` is about. The last record of a key counts; an empty one removes the entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DirectoryKey {
    /// `view/<model>`: the record is a [`crate::ModelView`].
    View(String),
    /// `replica/<replica>/<model>`: the record is a [`crate::ReplicaState`].
    Replica {
        /// Name of the replica; holds no `/`.
        replica: String,
        /// Name of the model.
        model: String,
    },
    /// `override/<model>`: the record is a [`crate::ServingOverride`].
    Override(String),
}

impl DirectoryKey {
    /// `None` for a key of another kind, which a newer build may have written.
    pub fn parse(key: &[u8]) -> Option<Self> {
        let (kind, rest) = std::str::from_utf8(key).ok()?.split_once('/')?;
        let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        match kind {
            "view" => named(rest).map(Self::View),
            "override" => named(rest).map(Self::Override),
            "replica" => {
                let (replica, model) = rest.split_once('/')?;
                Some(Self::Replica { replica: named(replica)?, model: named(model)? })
            }
            _ => None,
        }
    }
}

impl fmt::Display for DirectoryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::View(model) => write!(f, "view/{model}"),
            Self::Override(model) => write!(f, "override/{model}"),
            Self::Replica { replica, model } => write!(f, "replica/{replica}/{model}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_and_strange_ones_are_nothing() {
        let replica = DirectoryKey::Replica { replica: "pod-7f-a1".into(), model: "a/b".into() };
        for key in [DirectoryKey::View("diabetes".into()), DirectoryKey::Override("a/b".into()), replica] {
            assert_eq!(DirectoryKey::parse(key.to_string().as_bytes()), Some(key));
        }
        for strange in [
            &b""[..],
            b"view",
            b"view/",
            b"replica/a",
            b"replica//m",
            b"replica/a/",
            b"override/",
            b"other/x",
            b"view/\xff",
        ] {
            assert_eq!(DirectoryKey::parse(strange), None, "{strange:?}");
        }
    }
}

//! The issuer's public keys: a JWK set (RFC 7517), of which only signature keys are used.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

/// Maximum number of keys used from one set.
const MAX_KEYS: usize = 64;

/// The usable keys of a set.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// Digest of the text, to detect changes.
    pub(super) digest: blake3::Hash,
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct JwkSetDocument {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Parses a set. Other kinds of keys (encryption, shared secrets, unknown curves) are skipped.
    ///
    /// # Errors
    /// If it is not a JWK set. A set without usable keys is one: its issuer has withdrawn them.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let document: JwkSetDocument =
            serde_json::from_slice(json).map_err(|error| format!("is not a JWK set: {error}"))?;
        let keys: Vec<_> = document.keys.into_iter().filter_map(usable).take(MAX_KEYS).collect();
        Ok(Self { keys, digest: blake3::hash(json) })
    }

    /// Number of usable keys.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The key with this id for this algorithm. Without an id, the only key for the algorithm, if there is exactly one.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Option<&DecodingKey> {
        let mut fitting = self.keys.iter().filter(|key| key.algorithms.contains(&algorithm));
        match id {
            Some(id) => fitting.find(|key| key.id.as_deref() == Some(id)).map(|key| &key.key),
            None => fitting.next().filter(|_| fitting.next().is_none()).map(|key| &key.key),
        }
    }
}

fn usable(value: serde_json::Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(value).ok()?;
    let common = &jwk.common;
    let signs = common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature)
        && common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
    let mut algorithms = algorithms(&jwk.algorithm);
    if let Some(only) = common.key_algorithm {
        algorithms.retain(|algorithm| KeyAlgorithm::from(*algorithm) == only);
    }
    if !signs || algorithms.is_empty() {
        return None;
    }
    Some(Key { id: common.key_id.clone(), algorithms, key: DecodingKey::from_jwk(&jwk).ok()? })
}

/// The algorithms that a key of this kind can verify. A shared secret verifies nothing, whatever the set says.
fn algorithms(parameters: &AlgorithmParameters) -> Vec<Algorithm> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    match parameters {
        AlgorithmParameters::RSA(_) => vec![RS256, RS384, RS512, PS256, PS384, PS512],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => vec![ES256],
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P384 => vec![ES384],
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => vec![EdDSA],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EC: &str = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;

    fn set(keys: &[String]) -> Result<KeySet, String> {
        KeySet::parse(format!(r#"{{"keys":[{}]}}"#, keys.join(",")).as_bytes())
    }

    #[test]
    fn keys_are_found_by_id_and_algorithm() {
        let two = set(&[format!(r#"{{"kid":"a",{EC}}}"#), format!(r#"{{"kid":"b","use":"sig",{EC}}}"#)]).unwrap();
        assert!(two.find(Some("a"), Algorithm::ES256).is_some() && two.find(Some("b"), Algorithm::ES256).is_some());
        assert!(two.find(Some("c"), Algorithm::ES256).is_none());
        assert!(two.find(Some("a"), Algorithm::RS256).is_none() && two.find(Some("a"), Algorithm::HS256).is_none());
        assert!(two.find(None, Algorithm::ES256).is_none(), "two keys match");
        let one = set(&[format!(r#"{{"kid":"a",{EC}}}"#)]).unwrap();
        assert!(one.find(None, Algorithm::ES256).is_some());
    }

    #[test]
    fn keys_that_are_not_for_signatures_are_skipped() {
        for key in [
            format!(r#"{{"use":"enc",{EC}}}"#),
            format!(r#"{{"key_ops":["encrypt"],{EC}}}"#),
            format!(r#"{{"alg":"ES384",{EC}}}"#),
            r#"{"kty":"oct","k":"c2VjcmV0","alg":"HS256"}"#.to_owned(),
            r#"{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}"#.to_owned(),
            r#"{"kty":"new"}"#.to_owned(),
            "7".to_owned(),
        ] {
            assert_eq!(set(std::slice::from_ref(&key)).unwrap().len(), 0, "{key}");
            assert_eq!(set(&[key, format!(r#"{{{EC}}}"#)]).unwrap().len(), 1);
        }
        assert_eq!(set(&[]).unwrap().len(), 0);
        assert!(KeySet::parse(b"[]").unwrap_err().contains("is not a JWK set"));
    }
}

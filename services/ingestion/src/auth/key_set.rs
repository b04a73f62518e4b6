//! The issuer's public keys: a JWK set (RFC 7517), of which only keys for signatures are taken.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

/// Most keys of a set that are taken.
const MOST: usize = 64;

/// Keys by their ids.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    /// Of the text, to tell whether anything has changed.
    pub(super) digest: blake3::Hash,
}

#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Reads a set. Keys of other kinds (encryption, shared secrets, curves unknown here) are passed over.
    ///
    /// # Errors
    /// When it is no set, or no key of it can be used.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(json).map_err(|error| format!("is no JWK set: {error}"))?;
        let keys: Vec<_> = document.keys.into_iter().filter_map(usable).take(MOST).collect();
        if keys.is_empty() {
            return Err("holds no public key for signatures".to_owned());
        }
        Ok(Self { keys, digest: blake3::hash(json) })
    }

    /// How many keys can be used.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The key of that id for that algorithm. A token that names none gets the one key there is for its algorithm.
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

/// What a key of this kind can verify. A shared secret verifies nothing here, whatever the set says.
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
        assert!(two.find(None, Algorithm::ES256).is_none(), "there are two");
        let one = set(&[format!(r#"{{"kid":"a",{EC}}}"#)]).unwrap();
        assert!(one.find(None, Algorithm::ES256).is_some());
    }

    #[test]
    fn keys_that_are_not_for_signatures_are_passed_over() {
        for key in [
            format!(r#"{{"use":"enc",{EC}}}"#),
            format!(r#"{{"key_ops":["encrypt"],{EC}}}"#),
            format!(r#"{{"alg":"ES384",{EC}}}"#),
            r#"{"kty":"oct","k":"c2VjcmV0","alg":"HS256"}"#.to_owned(),
            r#"{"kty":"EC","crv":"secp256k1","x":"AA","y":"AA"}"#.to_owned(),
            r#"{"kty":"new"}"#.to_owned(),
            "7".to_owned(),
        ] {
            assert_eq!(set(std::slice::from_ref(&key)).unwrap_err(), "holds no public key for signatures", "{key}");
            assert_eq!(set(&[key, format!(r#"{{{EC}}}"#)]).unwrap().len(), 1);
        }
        assert!(KeySet::parse(b"[]").unwrap_err().contains("is no JWK set"));
    }
}

//! Tokens that must not be accepted, whatever they claim.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};

use crate::issuer::{Issuer, Key, but, claims, message, predict_with, refused, served};
use crate::mesh::call;

/// Known attacks on signatures.
#[actix_rt::test]
async fn forged_tokens_are_rejected() {
    let (ec, rsa, evil) = (Key::ec("e"), Key::rsa("r"), Key::ec("e"));
    let issuer = Issuer::new(&[&ec, &rsa]);
    let mesh = issuer.mesh(&[]);
    let server = served(&mesh, &ec).await;
    let good = ec.good();
    let parts: Vec<_> = good.split('.').collect();
    let mallory = BASE64.encode(but(json!({ "sub": "mallory" })).to_string());
    let with_header = |header: Value| ec.token(&header, &claims());
    let none = |name: &str| format!("{}.", message(&json!({ "alg": name, "kid": "e" }), &claims()));
    let mut flipped = BASE64.decode(parts[2]).unwrap();
    flipped[0] ^= 1;

    let mut table = vec![
        (evil.good(), "signature is invalid"),
        (format!("{}.{mallory}.{}", parts[0], parts[2]), "signature is invalid"),
        (format!("{}.{}.{}", parts[0], parts[1], BASE64.encode(flipped)), "signature is invalid"),
        (format!("{}.{}.", parts[0], parts[1]), "signature is invalid"),
        (format!("{}.{}", parts[0], parts[1]), "not a readable token"),
        (none("none"), "not a readable token"),
        (none("NONE"), "not a readable token"),
        // an algorithm that the settings do not list, or that does not match the key
        (with_header(json!({ "alg": "ES384", "kid": "e" })), "is not accepted"),
        (with_header(json!({ "alg": "RS256", "kid": "e" })), "key that the issuer does not have"),
        (with_header(json!({ "alg": "ES256", "kid": "r" })), "key that the issuer does not have"),
        (with_header(json!({ "alg": "ES256", "kid": "e", "crit": ["exp"] })), "extensions"),
        (with_header(json!({ "alg": "ES256", "kid": "e", "typ": "logout+jwt" })), "another purpose"),
        // keys inside the token
        (evil.token(&json!({ "alg": "ES256", "kid": "e", "jwk": evil.jwk() }), &claims()), "signature is invalid"),
        (
            evil.token(
                &json!({ "alg": "ES256", "kid": "x", "jku": "http://127.0.0.1:1/", "jwk": evil.jwk() }),
                &claims(),
            ),
            "does not have",
        ),
        ("a".repeat(9000), "too long"),
        (format!("{}.{}.{}", "a".repeat(100), "b", "c"), "not a readable token"),
        ("...".to_owned(), "not a readable token"),
    ];
    // the public key as the shared secret of HMAC
    for secret in [
        ec.jwk().to_string().into_bytes(),
        rsa.jwk()["n"].as_str().unwrap().as_bytes().to_vec(),
        BASE64.decode(rsa.jwk()["n"].as_str().unwrap()).unwrap(),
    ] {
        for id in ["e", "r"] {
            let signed = message(&json!({ "alg": "HS256", "kid": id }), &claims());
            let mac = ring::hmac::sign(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret), signed.as_bytes());
            table.push((format!("{signed}.{}", BASE64.encode(mac)), "is not accepted"));
        }
    }
    for (token, why) in table {
        refused(&predict_with(server, &token).await, 401, "unauthorized", why);
    }
    assert_eq!(predict_with(server, &good).await.status, 200, "the valid token still is");
    let by_key_header = format!("POST /v1/predict HTTP/1.1\r\nX-API-Key: {good}");
    refused(&call(server, &by_key_header, b"{}").await, 401, "unauthorized", "API keys are not accepted here");
}

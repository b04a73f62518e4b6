//! Which claims of a validly signed token are accepted.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use ring::signature::RSA_PSS_SHA256;
use serde_json::json;

use crate::issuer::{Issuer, Key, but, claims, message, now, predict_with, refused, served};
use crate::mesh::{Mesh, until};

#[actix_rt::test]
async fn valid_tokens_are_accepted() {
    let keys = [Key::ec("e"), Key::ed("d"), Key::rsa("r")];
    let issuer = Issuer::new(&keys.each_ref());
    let mesh = issuer.mesh(&["auth.jwt.algorithms=RS256,PS256,ES256,EdDSA", "auth.jwt.scope=score"]);
    let server = served(&mesh, &keys[0]).await;
    for key in &keys {
        for claims in [
            claims(),
            but(json!({ "aud": ["other", "forebay"] })),
            but(json!({ "nbf": null })),
            but(json!({ "exp": now() - 10 })), // within the leeway
            but(json!({ "scope": null, "scp": ["score"] })),
        ] {
            let fine = predict_with(server, &key.token(&key.header(), &claims)).await;
            assert_eq!(fine.status, 200, "{} {claims}: {fine:?}", key.id);
        }
        let typed = json!({ "alg": key.algorithm(), "typ": "at+JWT", "kid": key.id });
        assert_eq!(predict_with(server, &key.token(&typed, &claims())).await.status, 200);
        let nameless = json!({ "alg": key.algorithm() });
        assert_eq!(predict_with(server, &key.token(&nameless, &claims())).await.status, 200, "one key fits");
    }
    let pss = message(&json!({ "alg": "PS256", "kid": "r" }), &claims());
    let signature = keys[2].sign_as(pss.as_bytes(), &RSA_PSS_SHA256);
    assert_eq!(predict_with(server, &format!("{pss}.{}", BASE64.encode(signature))).await.status, 200);
    assert_eq!(issuer.requests(), 1, "the keys were read once");
    assert!(mesh.metric("forebay_caller_requests_total{caller=\"jwt\"}").unwrap() > 20.0);
    let text = mesh.host.metrics().encode().unwrap();
    assert!(!text.contains("alice"), "subjects are no labels");
}

/// Serves once a token for all models is accepted; that takes one row.
async fn served_to(mesh: &Mesh, key: &Key) -> SocketAddr {
    let server = mesh.serve().address;
    let token = key.token(&key.header(), &but(json!({ "models": "*" })));
    until("the issuer's keys", async || predict_with(server, &token).await.status == 200).await;
    server
}

#[actix_rt::test]
async fn a_token_for_some_models_uses_and_sees_no_other() {
    let key = Key::ec("e");
    let issuer = Issuer::new(&[&key]);
    let mesh = issuer.mesh(&["auth.jwt.models_claim=models"]);
    let server = served_to(&mesh, &key).await;
    let model = "diabetes-rf-model";
    for (listed, status) in [
        (json!([model]), 200),
        (json!(format!("other {model}")), 200),
        (json!("*"), 200),
        (json!(["other"]), 403),
        (json!([]), 403),
        (json!(null), 403),
        (json!({ "diabetes-rf-model": true }), 401),
    ] {
        let answer = predict_with(server, &key.token(&key.header(), &but(json!({ "models": listed })))).await;
        assert_eq!(answer.status, status, "{listed}: {answer:?}");
    }
}

#[actix_rt::test]
async fn tokens_of_one_subject_share_its_limits_whatever_their_models() {
    let key = Key::ec("e");
    let issuer = Issuer::new(&[&key]);
    let mesh = issuer.mesh(&["auth.jwt.models_claim=models", "auth.daily_rows=3"]);
    let token = |models: &str| key.token(&key.header(), &but(json!({ "models": models })));
    let server = served_to(&mesh, &key).await;
    let mut statuses = Vec::new();
    for models in ["diabetes-rf-model", "*", "diabetes-rf-model other"] {
        statuses.push(predict_with(server, &token(models)).await.status);
    }
    assert_eq!(statuses, [200, 200, 429]);
}

#[actix_rt::test]
async fn invalid_claims_are_rejected() {
    let key = Key::ec("e");
    let issuer = Issuer::new(&[&key]);
    let mesh = issuer.mesh(&["auth.jwt.scope=score"]);
    let server = served(&mesh, &key).await;
    for (change, why) in [
        (json!({ "exp": now() - 40 }), "has expired"),
        (json!({ "exp": null }), "exp, iss, aud or sub"),
        (json!({ "exp": "tomorrow" }), "exp, iss, aud or sub"),
        (json!({ "nbf": now() + 600 }), "not valid yet"),
        (json!({ "iss": "https://issuer.evil" }), "another issuer"),
        (json!({ "iss": null }), "exp, iss, aud or sub"),
        (json!({ "aud": "forebay2" }), "another audience"),
        (json!({ "aud": null }), "exp, iss, aud or sub"),
        (json!({ "sub": null }), "the token was rejected"),
        (json!({ "sub": "" }), "subject"),
        (json!({ "sub": "a\nb" }), "subject"),
        (json!({ "sub": 7 }), "the token was rejected"),
        (json!({ "sub": "a".repeat(300) }), "subject"),
    ] {
        let answer = predict_with(server, &key.token(&key.header(), &but(change))).await;
        refused(&answer, 401, "unauthorized", why);
        assert!(answer.header("www-authenticate").unwrap().contains("invalid_token"), "{answer:?}");
    }
    for change in [json!({ "scope": "read" }), json!({ "scope": null }), json!({ "scope": "scores" })] {
        let answer = predict_with(server, &key.token(&key.header(), &but(change))).await;
        refused(&answer, 403, "forbidden", "lacks the required scope");
        assert!(answer.header("www-authenticate").unwrap().contains("insufficient_scope"), "{answer:?}");
    }
}

//! Tokens and API keys side by side: a subject and a key with one name are two callers.

use serde_json::json;

use crate::issuer::{Key, but, predict_with, refused};
use crate::mesh::{Mesh, call, until};

#[actix_rt::test]
async fn tokens_with_a_key_set_file_work_beside_api_keys() {
    let (signer, api) = (Key::ed("f"), forebay_ingestion::auth::ApiKey::generate().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let (jwks, keys) = (folder.path().join("jwks.json"), folder.path().join("keys"));
    std::fs::write(&jwks, json!({ "keys": [signer.jwk()] }).to_string()).unwrap();
    std::fs::write(&keys, format!("alice {} rate=1000\n", api.hash())).unwrap();
    let flags = [
        format!("auth.jwt.jwks=file:{}", jwks.display()),
        format!("auth.keys_file={}", keys.display()),
        "auth.jwt.issuer=https://issuer".to_owned(),
        "auth.jwt.audience=forebay".to_owned(),
        "auth.rate=1".to_owned(),
        "auth.burst=1".to_owned(),
        "auth.jwt.refresh=100ms".to_owned(),
    ];
    let mut mesh = Mesh::start(&flags.iter().map(String::as_str).collect::<Vec<_>>());
    let server = mesh.serve().address;
    until("the file", async || {
        let head = format!(
            "GET /v1/models HTTP/1.1\r\nAuthorization: Bearer {}",
            signer.token(&signer.header(), &but(json!({ "sub": "x" })))
        );
        call(server, &head, b"").await.code() == "unavailable"
    })
    .await;
    // the key alice and the subject alice are two callers
    let mut ids = Vec::new();
    for credential in [format!("Bearer {}", signer.good()), format!("Bearer {}", api.expose())] {
        let head = format!("POST /v1/predict HTTP/1.1\r\nIdempotency-Key: k\r\nAuthorization: {credential}");
        let stream = crate::mesh::send(server, &head, br#"{"features":[1]}"#).await;
        let items = mesh.items(1).await;
        ids.push(items[0].context.request_id());
        mesh.reply(items.into_iter().map(crate::mesh::sum).collect());
        assert_eq!(crate::mesh::receive(stream).await.status, 200);
    }
    assert_ne!(ids[0], ids[1]);
    mesh.answer_all();
    let again = crate::mesh::shed(async || predict_with(server, &signer.good()).await).await;
    refused(&again, 429, "overloaded", "requests per second, the limit of alice");
}

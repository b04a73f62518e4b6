//! API keys: who is authenticated, the limits of each caller, and the answers to everyone else.
#![cfg(test)]

mod mesh;

use std::path::{Path, PathBuf};

use forebay_ingestion::auth::ApiKey;
use mesh::{Mesh, Response, call, send, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const PREDICT: &str = "POST /v1/predict HTTP/1.1";
const ROW: &[u8] = br#"{"features":[1,2]}"#;

/// A key file in a temporary folder.
struct Keys {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Keys {
    fn of(lines: &[(&str, &ApiKey, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = Self { path: folder.path().join("keys"), _folder: folder };
        keys.write(lines);
        keys
    }

    fn write(&self, lines: &[(&str, &ApiKey, &str)]) {
        let text: String = lines.iter().map(|(name, key, more)| format!("{name} {} {more}\n", key.hash())).collect();
        self.replace(&text);
    }

    /// Replaces the file atomically: a concurrent reader sees either the old or the new content.
    fn replace(&self, text: &str) {
        let next = self.path.with_extension("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, &self.path).unwrap();
    }

    fn mesh(&self, flags: &[&str]) -> Mesh {
        let file = format!("auth.keys_file={}", self.path.display());
        let mut all = vec![file.as_str(), "auth.refresh=50ms"];
        all.extend(flags);
        let mut mesh = Mesh::start(&all);
        mesh.answer_all();
        mesh
    }
}

fn key() -> ApiKey {
    ApiKey::generate().unwrap()
}

async fn predict_as(server: std::net::SocketAddr, header: &str, body: &[u8]) -> Response {
    let head = if header.is_empty() { PREDICT.to_owned() } else { format!("{PREDICT}\r\n{header}") };
    call(server, &head, body).await
}

fn by_header(key: &ApiKey) -> String {
    format!("X-API-Key: {}", key.expose())
}

#[actix_rt::test]
async fn only_a_valid_key_is_accepted() {
    let (good, old, stranger) = (key(), key(), key());
    let keys = Keys::of(&[("app", &good, ""), ("old", &old, "expires=2020-01-01")]);
    let mesh = keys.mesh(&[]);
    let server = mesh.serve().address;
    for header in [
        by_header(&good),
        format!("Authorization: Bearer {}", good.expose()),
        format!("authorization: bearer {}", good.expose()),
    ] {
        let fine = predict_as(server, &header, ROW).await;
        assert_eq!((fine.status, fine.json()["prediction"].as_f64()), (200, Some(3.0)), "{fine:?}");
    }
    let almost = format!("X-API-Key: {}x", &good.expose()[..good.expose().len() - 1]);
    for (header, why) in [
        (String::new(), "an API key is required"),
        (by_header(&stranger), "is unknown"),
        (almost, "is unknown"),
        (format!("X-API-Key: {}", good.hash()), "is unknown"),
        (by_header(&old), "old has expired"),
        ("X-API-Key: ".to_owned() + &"a".repeat(3000), "is unknown"),
        (format!("Authorization: Basic {}", good.expose()), "expected Bearer"),
        (format!("Authorization: Bearer {}\r\n{}", stranger.expose(), by_header(&good)), "expected either"),
        (format!("{}\r\n{}", by_header(&good), by_header(&good)), "expected either"),
    ] {
        // without credentials a body is not even read
        let refused = predict_as(server, &header, b"{").await;
        assert_eq!((refused.status, refused.code().as_str()), (401, "unauthorized"), "{header}: {refused:?}");
        assert!(refused.body.contains(why), "{header}: {refused:?}");
        assert!(refused.header("www-authenticate").unwrap().starts_with("Bearer realm=\"forebay\""), "{refused:?}");
        assert!(!refused.body.contains(&good.expose()[4..20]), "{refused:?}");
    }
    let in_query = call(server, &format!("POST /v1/predict?api_key={} HTTP/1.1", good.expose()), ROW).await;
    assert_eq!(in_query.status, 401, "URLs end up in logs");
    assert_eq!(mesh.metric("forebay_caller_requests_total{caller=\"app\"}"), Some(3.0));
    assert_eq!(mesh.metric("forebay_caller_rows_total{caller=\"app\"}"), Some(3.0));
    assert_eq!(mesh.metric("forebay_auth_refused_total{reason=\"expired\"}"), Some(1.0));
    assert_eq!(mesh.metric("forebay_stage_failed_total{stage=\"ingestion\",code=\"unauthorized\"}"), Some(10.0));
    assert_eq!(mesh.metric("forebay_auth_keys"), Some(1.0));
}

/// The body of a refused request is not read, and must not be treated as the next request.
#[actix_rt::test]
async fn a_request_inside_a_refused_body_is_not_served() {
    let keys = Keys::of(&[("app", &key(), "")]);
    let mesh = keys.mesh(&[]);
    let server = mesh.serve().address;
    let inner = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    for head in [
        format!("{PREDICT}\r\nHost: x\r\nContent-Length: {}\r\n\r\n{inner}", inner.len()),
        format!("{PREDICT}\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len()),
        format!("{PREDICT}\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{inner}"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(server).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        mesh::within(stream.read_to_end(&mut answer)).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        assert!(!answer.contains("\"documentation\""), "{head}: {answer}");
        assert!(answer.matches("HTTP/1.1 ").count() <= 1, "{head}: {answer}");
    }
}

#[actix_rt::test]
async fn every_documented_path_needs_credentials_and_the_document_does_not() {
    let good = key();
    let keys = Keys::of(&[("app", &good, "")]);
    let mesh = keys.mesh(&[]);
    mesh.directory.on_view(forebay_contract::ModelView { model: "m".into(), ..Default::default() });
    let server = mesh.serve().address;
    let document = call(server, "GET /openapi.json HTTP/1.1", b"").await;
    assert_eq!(document.status, 200);
    assert_eq!(call(server, "GET / HTTP/1.1", b"").await.status, 200);
    let document = document.json();
    assert_eq!(document["components"]["securitySchemes"]["api_key"]["name"], "X-API-Key");
    assert!(document["components"]["securitySchemes"]["token"].is_null());
    let mut seen = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let line = format!("{} {path} HTTP/1.1", method.to_ascii_uppercase());
            let refused = call(server, &line, b"").await;
            if ["/ping", "/health", "/version", "/v2/health/live", "/v2/health/ready"].contains(&path.as_str()) {
                assert!([200, 503].contains(&refused.status) && refused.body.len() < 100, "{line}: {refused:?}");
                assert!(operation["security"].is_null(), "{line}");
                continue;
            }
            assert_eq!(refused.status, 401, "{line}");
            // other protocols have forms of their own
            match path.starts_with("/v1/predict") || path == "/v1/models" {
                true => assert_eq!(refused.code(), "unauthorized", "{line}"),
                false => assert!(refused.json().is_object(), "{line}: {}", refused.body),
            }
            assert!(refused.header("www-authenticate").is_some(), "{line}");
            assert_ne!(call(server, &format!("{line}\r\n{}", by_header(&good)), ROW).await.status, 401, "{line}");
            assert_eq!(operation["security"][0], serde_json::json!({ "api_key": [] }), "{line}");
            seen += 1;
        }
    }
    assert!(seen >= 10, "{seen}");
}

#[actix_rt::test]
async fn a_changed_file_is_reloaded_in_time() {
    let (one, two) = (key(), key());
    let keys = Keys::of(&[("app", &one, "")]);
    let mesh = keys.mesh(&[]);
    let server = mesh.serve().address;
    assert_eq!(predict_as(server, &by_header(&one), ROW).await.status, 200);
    keys.write(&[("app", &one, ""), ("new", &two, "")]);
    until("the new key", async || predict_as(server, &by_header(&two), ROW).await.status == 200).await;
    keys.replace("app sha256:broken");
    until("a failure", async || mesh.metric("forebay_auth_reload_failures_total{what=\"keys\"}") == Some(1.0)).await;
    assert_eq!(predict_as(server, &by_header(&one), ROW).await.status, 200, "a broken file revokes nothing");
    keys.write(&[("new", &two, "")]);
    until("the revocation", async || predict_as(server, &by_header(&one), ROW).await.status == 401).await;
    assert_eq!(predict_as(server, &by_header(&two), ROW).await.status, 200);
}

#[actix_rt::test]
async fn rate_and_daily_rows_are_each_callers_own() {
    let (slow, small, free) = (key(), key(), key());
    let lines =
        [("slow", &slow, "rate=1 burst=2"), ("small", &small, "daily_rows=5"), ("free", &free, "rate=0 daily_rows=0")];
    let keys = Keys::of(&lines);
    let mesh = keys.mesh(&["auth.rate=1000", "auth.daily_rows=1000"]);
    let server = mesh.serve().address;
    assert_eq!(predict_as(server, &by_header(&slow), ROW).await.status, 200);
    assert_eq!(predict_as(server, &by_header(&slow), ROW).await.status, 200);
    let shed = mesh::shed(async || predict_as(server, &by_header(&slow), ROW).await).await;
    assert_eq!((shed.status, shed.code().as_str(), shed.header("retry-after")), (429, "overloaded", Some("1")));
    let head = format!("GET /v1/models HTTP/1.1\r\n{}", by_header(&slow));
    let models = mesh::shed(async || call(server, &head, b"").await).await;
    assert_eq!((models.status, models.header("retry-after")), (429, Some("1")), "one rate for all paths");

    assert_eq!(predict_as(server, &by_header(&small), br#"{"features":[[1],[2],[3]]}"#).await.status, 200);
    let over = predict_as(server, &by_header(&small), br#"{"features":[[1],[2],[3]]}"#).await;
    assert_eq!((over.status, over.code().as_str()), (429, "overloaded"));
    assert!(over.body.contains("the daily limit of small (5)"), "{over:?}");
    let wait: u64 = over.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=86_400).contains(&wait), "until midnight: {wait}");
    assert_eq!(predict_as(server, &by_header(&small), br#"{"features":[[1],[2]]}"#).await.status, 200, "what is left");
    for _ in 0..10 {
        assert_eq!(predict_as(server, &by_header(&free), ROW).await.status, 200);
    }
    assert_eq!(mesh.metric("forebay_caller_limited_total{caller=\"slow\",limit=\"rate\"}"), Some(2.0));
    assert_eq!(mesh.metric("forebay_caller_limited_total{caller=\"small\",limit=\"daily_rows\"}"), Some(1.0));
    assert_eq!(mesh.metric("forebay_caller_limited_total{caller=\"free\",limit=\"rate\"}"), Some(0.0));
    let failed = mesh.metric("forebay_stage_failed_total{stage=\"ingestion\",code=\"overloaded\"}");
    assert_eq!(
        (failed, mesh.metric("inference_errors_total")),
        (None, Some(0.0)),
        "the mesh has not failed: no alert may fire"
    );
}

#[actix_rt::test]
async fn a_key_for_some_models_uses_and_sees_no_other() {
    let narrow = key();
    let keys = Keys::of(&[("narrow", &narrow, "models=mine,too")]);
    let mesh = keys.mesh(&["models.name=main"]);
    for model in ["mine", "other"] {
        mesh.directory.on_view(forebay_contract::ModelView { model: model.into(), ..Default::default() });
    }
    let server = mesh.serve().address;
    assert_eq!(predict_as(server, &by_header(&narrow), br#"{"features":[1],"model":"mine"}"#).await.status, 200);
    for body in [&br#"{"features":[1],"model":"other"}"#[..], br#"{"features":[1]}"#] {
        let refused = predict_as(server, &by_header(&narrow), body).await;
        assert_eq!((refused.status, refused.code().as_str()), (403, "forbidden"), "{refused:?}");
    }
    let models = call(server, &format!("GET /v1/models HTTP/1.1\r\n{}", by_header(&narrow)), b"").await.json();
    let names: Vec<_> =
        models["models"].as_array().unwrap().iter().map(|model| model["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["mine"]);
}

/// Two callers that choose the same `Idempotency-Key` must not see each other's answers.
#[actix_rt::test]
async fn callers_may_have_cached_answers_of_their_own() {
    let (alice, alice_too, bob) = (key(), key(), key());
    let keys = Keys::of(&[("alice", &alice, ""), ("alice", &alice_too, ""), ("bob", &bob, "")]);
    let file = format!("auth.keys_file={}", keys.path.display());
    for (setting, separate) in [("auth.separate_cache=false", false), ("auth.separate_cache=true", true)] {
        let mut mesh = Mesh::start(&[&file, setting]);
        let server = mesh.serve().address;
        let mut scopes = Vec::new();
        for key in [&alice, &bob, &alice_too] {
            let stream = send(server, &format!("{PREDICT}\r\n{}", by_header(key)), ROW).await;
            let items = mesh.items(1).await;
            scopes.push(items[0].payload.cache_scope.clone());
            mesh.reply(items.into_iter().map(mesh::sum).collect());
            assert_eq!(mesh::receive(stream).await.status, 200);
        }
        assert_eq!((scopes[0] != scopes[1], scopes[0].is_empty()), (separate, !separate));
        assert_eq!(scopes[0], scopes[2], "one caller with two keys");
    }
}

#[actix_rt::test]
async fn idempotency_keys_of_different_callers_do_not_collide() {
    let (alice, alice_too, bob) = (key(), key(), key());
    let keys = Keys::of(&[("alice", &alice, ""), ("alice", &alice_too, ""), ("bob", &bob, "")]);
    let file = format!("auth.keys_file={}", keys.path.display());
    let mut mesh = Mesh::start(&[&file]);
    let server = mesh.serve().address;
    let mut ids = Vec::new();
    for key in [&alice, &bob, &alice_too] {
        let stream = send(server, &format!("{PREDICT}\r\nIdempotency-Key: 1\r\n{}", by_header(key)), ROW).await;
        let items = mesh.items(1).await;
        ids.push(items[0].context.request_id());
        mesh.reply(items.into_iter().map(mesh::sum).collect());
        assert_eq!(mesh::receive(stream).await.status, 200);
    }
    assert_ne!(ids[0], ids[1], "two callers");
    assert_eq!(ids[0], ids[2], "one caller with two keys");
}

#[actix_rt::test]
async fn a_file_that_cannot_be_used_stops_the_start_and_shows_nothing_of_it() {
    let secret = key();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    std::fs::write(&path, format!("app {}\n", secret.expose())).unwrap();
    for (case, path, part) in [
        ("invalid content", &path as &Path, "line 1"),
        ("missing file", &folder.path().join("missing"), "cannot be read"),
    ] {
        let error = Mesh::refused(&[&format!("auth.keys_file={}", path.display())]);
        assert!(error.contains("auth.keys_file"), "{case}: {error}");
        assert!(error.contains(part), "{case}: {error}");
        assert!(!error.contains(secret.expose()), "{case}: {error}");
    }
}

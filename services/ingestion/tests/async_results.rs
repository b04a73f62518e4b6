//! Requests that are answered later, in a mesh whose replica keeps the answers itself.
#![cfg(test)]

mod mesh;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base64::Engine as _;
use forebay_contract::{ErrorCode, Item, Outcome, Problem, Request};
use forebay_ingestion::auth::ApiKey;
use mesh::{Mesh, Response, call, shed, sum, until, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const ROW: &[u8] = br#"{"features":[1,2,3],"request_id":"r"}"#;
/// The base64 of 32 bytes of 7.
const SECRET: &str = "async.callback_secret=whsec_BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
const LATER: &str = "POST /v1/predict HTTP/1.1\r\nPrefer: respond-async";

async fn get(server: SocketAddr, path: &str) -> Response {
    call(server, &format!("GET {path} HTTP/1.1"), b"").await
}

/// The place of an answer that is not there yet.
fn place(accepted: &Response) -> String {
    assert_eq!((accepted.status, accepted.json()["status"].as_str()), (202, Some("pending")), "{accepted:?}");
    assert_eq!(accepted.header("retry-after"), Some("1"));
    let location = accepted.header("location").unwrap();
    assert_eq!(accepted.json()["location"], location);
    location.to_owned()
}

#[actix_rt::test]
async fn an_answer_waits_for_its_caller_and_is_the_one_that_a_connection_gets() {
    let mut mesh = Mesh::start(&["async.store=memory"]);
    let listener = mesh.serve();
    let server = listener.address;
    let accepted = call(server, LATER, ROW).await;
    assert_eq!(accepted.header("preference-applied"), Some("respond-async"));
    let place = place(&accepted);
    assert_eq!(get(server, &place).await.status, 202);

    let items = mesh.items(1).await;
    let waiting = actix_rt::spawn({
        let place = format!("{place}?wait=20");
        async move { get(server, &place).await }
    });
    mesh.reply(items.into_iter().map(sum).collect());
    let answer = waiting.await.unwrap();
    assert_eq!((answer.status, answer.json()["prediction"].as_f64()), (200, Some(6.0)), "{answer:?}");
    assert_eq!((answer.json()["request_id"].as_str(), answer.header("cache-control")), (Some("r"), Some("no-store")));
    assert_eq!(get(server, &place).await.body, answer.body, "as often as it is asked for");

    mesh.answer_all();
    let direct = call(server, "POST /v1/predict HTTP/1.1", ROW).await.json();
    let keys = |answer: &serde_json::Value| answer.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&answer.json()), keys(&direct));
    assert_eq!(mesh.metric("forebay_async_requests_total"), Some(1.0));
    listener.close(Duration::from_secs(5)).await;
}

#[actix_rt::test]
async fn a_caller_may_wait_a_moment_first() {
    let mut mesh = Mesh::start(&["async.store=memory"]);
    let server = mesh.serve().address;
    let began = Instant::now();
    let accepted = call(server, "POST /v1/predict HTTP/1.1\r\nPrefer: wait=1, respond-async", ROW).await;
    assert!(began.elapsed() >= Duration::from_secs(1));
    place(&accepted);
    mesh.items(1).await;
    mesh.answer_all();
    let answered = call(server, "POST /v1/predict HTTP/1.1\r\nPrefer: respond-async, wait=20", ROW).await;
    assert_eq!((answered.status, answered.json()["prediction"].as_f64()), (200, Some(6.0)), "{answered:?}");
    assert_eq!(answered.header("preference-applied"), None);
}

#[actix_rt::test]
async fn errors_are_answered_at_once_or_are_the_answer() {
    let mut mesh = Mesh::start(&["async.store=memory", "async.max_requests=2"]);
    let server = mesh.serve().address;
    let invalid = call(server, LATER, br#"{"features":"x"}"#).await;
    assert_eq!((invalid.status, invalid.code().as_str()), (400, "invalid_request"), "{invalid:?}");
    mesh.answer_all();
    let failing = place(&call(server, LATER, br#"{"features":[[-1],[2]]}"#).await);
    let mixed = get(server, &format!("{failing}?wait=20")).await;
    assert_eq!((mixed.status, mixed.json()["errors"][0]["row"].as_u64()), (200, Some(0)), "{mixed:?}");
    let failing = place(&call(server, LATER, br#"{"features":[-1]}"#).await);
    let failed = get(server, &format!("{failing}?wait=20")).await;
    assert_eq!((failed.status, failed.code().as_str()), (400, "invalid_features"), "{failed:?}");
    let full = call(server, LATER, ROW).await;
    assert_eq!((full.status, full.code().as_str()), (429, "overloaded"), "{full:?}");
    assert!(full.body.contains("async.max_requests") && full.header("retry-after").is_some(), "{full:?}");
    for (path, status) in [
        ("/v1/results/0123456789abcdef0123456789abcdef", 404),
        ("/v1/results/x", 404),
        (&format!("{failing}0"), 404),
        (&format!("{failing}?wait=soon"), 400),
        (&format!("{failing}?wait=-1"), 400),
    ] {
        assert_eq!(get(server, path).await.status, status, "{path}");
    }
    let post = call(server, &format!("POST {failing} HTTP/1.1"), b"{}").await;
    assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD")));
}

#[actix_rt::test]
async fn an_answer_belongs_to_the_credentials_of_its_request() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [ApiKey::generate().unwrap(), ApiKey::generate().unwrap()];
    let path = folder.path().join("keys");
    std::fs::write(&path, format!("a {}\nb {}\n", keys[0].hash(), keys[1].hash())).unwrap();
    let mut mesh = Mesh::start(&["async.store=memory", &format!("auth.keys_file={}", path.display())]);
    mesh.answer_all();
    let server = mesh.serve().address;
    let with = |head: &str, key: &ApiKey| format!("{head}\r\nX-API-Key: {}", key.expose());
    let place = place(&call(server, &with(LATER, &keys[0]), ROW).await);
    let path = format!("GET {place}?wait=20 HTTP/1.1");
    assert_eq!(call(server, &with(&path, &keys[0]), b"").await.status, 200);
    assert_eq!(call(server, &with(&path, &keys[1]), b"").await.status, 404);
    assert_eq!(call(server, &path, b"").await.status, 401);
}

#[actix_rt::test]
async fn requests_for_answers_have_a_rate_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let key = ApiKey::generate().unwrap();
    let path = folder.path().join("keys");
    std::fs::write(&path, format!("a {} rate=1 burst=3\n", key.hash())).unwrap();
    let mut mesh = Mesh::start(&["async.store=memory", &format!("auth.keys_file={}", path.display())]);
    mesh.answer_all();
    let server = mesh.serve().address;
    let with = |head: &str| format!("{head}\r\nX-API-Key: {}", key.expose());
    let place = place(&call(server, &with(LATER), ROW).await);
    let get = with(&format!("GET {place} HTTP/1.1"));
    let shed = shed(async || call(server, &get, b"").await).await;
    assert!(shed.body.contains("requests for answers"), "{shed:?}");
    let prediction = call(server, &with("POST /v1/predict HTTP/1.1"), ROW).await;
    assert_eq!(prediction.status, 200, "{prediction:?}");
}

#[actix_rt::test]
async fn a_request_that_is_sent_again_under_its_idempotency_key_gets_the_same_place() {
    let mut mesh = Mesh::start(&["async.store=memory"]);
    let server = mesh.serve().address;
    let head = format!("{LATER}\r\nIdempotency-Key: k");
    let first = place(&call(server, &head, ROW).await);
    assert_eq!(place(&call(server, &head, ROW).await), first);
    let items = mesh.items(1).await;
    mesh.reply(items.into_iter().map(sum).collect());
    assert_eq!(get(server, &format!("{first}?wait=20")).await.json()["prediction"], 6.0);
    assert_eq!(place(&call(server, &head, ROW).await), first);
    assert!(mesh.requests.try_recv().is_err(), "it entered the mesh once");
    assert_eq!(mesh.metric("forebay_async_requests_total"), Some(1.0));
    let other = place(&call(server, &head, br#"{"features":[4]}"#).await);
    mesh.items(1).await;
    assert_eq!(get(server, &other).await.status, 202);
}

#[actix_rt::test]
async fn an_error_that_may_be_another_answer_later_is_not_kept_under_an_idempotency_key() {
    let mut mesh = Mesh::start(&["async.store=memory"]);
    let server = mesh.serve().address;
    let head = format!("{LATER}\r\nIdempotency-Key: k");
    let first = place(&call(server, &head, ROW).await);
    let refuse = |code: ErrorCode| move |item: Item<Request>| item.with(Outcome::from(Problem::new(code, "not now")));
    let items = mesh.items(1).await;
    mesh.reply(items.into_iter().map(refuse(ErrorCode::Unavailable)).collect());
    assert_eq!(get(server, &format!("{first}?wait=20")).await.status, 503);
    assert_eq!(place(&call(server, &head, ROW).await), first);
    let items = mesh.items(1).await;
    assert_eq!(get(server, &first).await.status, 202, "in work again");
    mesh.reply(items.into_iter().map(refuse(ErrorCode::InvalidFeatures)).collect());
    assert_eq!(get(server, &format!("{first}?wait=20")).await.status, 400);
    assert_eq!(place(&call(server, &head, ROW).await), first);
    assert!(mesh.requests.try_recv().is_err(), "an error of the request itself stays");
}

#[actix_rt::test]
async fn a_request_that_is_refused_takes_no_place_and_no_rows() {
    let folder = tempfile::tempdir().unwrap();
    let keys = [ApiKey::generate().unwrap(), ApiKey::generate().unwrap()];
    let path = folder.path().join("keys");
    std::fs::write(&path, format!("a {} daily_rows=3\nb {}\n", keys[0].hash(), keys[1].hash())).unwrap();
    let keys_file = format!("auth.keys_file={}", path.display());
    let mut mesh = Mesh::start(&["async.store=memory", "async.max_requests=4", &keys_file]);
    mesh.answer_all();
    let server = mesh.serve().address;
    let with = |head: &str, key: &ApiKey| format!("{head}\r\nX-API-Key: {}", key.expose());
    place(&call(server, &with(LATER, &keys[0]), ROW).await);
    for _ in 0..5 {
        let full = call(server, &with(LATER, &keys[0]), ROW).await;
        assert!(full.status == 429 && full.body.contains("of this caller"), "{full:?}");
    }
    place(&call(server, &with(LATER, &keys[1]), ROW).await);
    for expected in [200, 200, 429] {
        let direct = call(server, &with("POST /v1/predict HTTP/1.1", &keys[0]), ROW).await;
        assert_eq!(direct.status, expected, "rows of refused requests do not count: {direct:?}");
    }
}

#[actix_rt::test]
async fn answers_are_forgotten_and_without_a_store_requests_are_answered_as_ever() {
    let mut mesh = Mesh::start(&["async.store=memory", "async.ttl=1s"]);
    mesh.answer_all();
    let server = mesh.serve().address;
    let place = place(&call(server, LATER, ROW).await);
    until("the end of its time", async || get(server, &place).await.status == 404).await;

    let mut mesh = Mesh::start(&[]);
    mesh.answer_all();
    let server = mesh.serve().address;
    let answer = call(server, LATER, ROW).await;
    assert_eq!((answer.status, answer.header("preference-applied")), (200, None), "{answer:?}");
    assert!(Mesh::refused(&["async.store=redis"]).contains("redis.url"));
    assert!(Mesh::refused(&["async.ttl=0s"]).contains("async.ttl"));
}

/// One request of a receiver's, and the status that it gets.
async fn received(receiver: &TcpListener, status: u16) -> (String, Vec<u8>) {
    let (mut stream, _) = within(receiver.accept()).await.unwrap();
    let mut bytes = Vec::new();
    let (head, body) = within(async {
        loop {
            let mut chunk = [0; 4096];
            let read = stream.read(&mut chunk).await.unwrap();
            bytes.extend_from_slice(&chunk[..read]);
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length: ").map(|it| it.parse::<usize>().unwrap())
                });
                if body.len() >= length.unwrap() {
                    return (head.to_owned(), body.as_bytes().to_vec());
                }
            }
        }
    })
    .await;
    let answer = format!("HTTP/1.1 {status} Done\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    (head, body)
}

fn header<'h>(head: &'h str, name: &str) -> &'h str {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(&format!("{name}: ")));
    line.unwrap_or_else(|| panic!("no {name} in {head}")).split_once(": ").unwrap().1
}

#[actix_rt::test]
async fn an_answer_is_posted_signed_until_it_is_taken() {
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks", receiver.local_addr().unwrap());
    let allowed = format!("async.callbacks={url}");
    let flags = ["async.store=memory", &allowed, SECRET, "async.callback_addresses=any"];
    let mut mesh = Mesh::start(&flags);
    mesh.answer_all();
    let server = mesh.serve().address;
    let accepted = call(server, &format!("POST /v1/predict HTTP/1.1\r\nX-Forebay-Callback: {url}/a"), ROW).await;
    let place = place(&accepted);
    let (first, _) = received(&receiver, 503).await;
    let (head, body) = received(&receiver, 204).await;
    assert!(head.starts_with("POST /hooks/a HTTP/1.1"), "{head}");
    assert_eq!(header(&head, "webhook-id"), header(&first, "webhook-id"));
    let event: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((event["type"].as_str(), event["data"]["status"].as_u64()), (Some("prediction.answered"), Some(200)));
    assert_eq!(event["data"]["location"], place.as_str());
    assert_eq!(event["data"]["answer"], get(server, &place).await.json());

    let signed = [header(&head, "webhook-id"), header(&head, "webhook-timestamp"), std::str::from_utf8(&body).unwrap()];
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &[7; 32]);
    let expected =
        base64::engine::general_purpose::STANDARD.encode(ring::hmac::sign(&key, signed.join(".").as_bytes()));
    assert_eq!(header(&head, "webhook-signature"), format!("v1,{expected}"));
}

#[actix_rt::test]
async fn a_callback_may_be_a_field_of_the_body_and_other_protocols_refuse_one() {
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks", receiver.local_addr().unwrap());
    let allowed = format!("async.callbacks={url}");
    let mut mesh = Mesh::start(&["async.store=memory", &allowed, SECRET, "async.callback_addresses=any"]);
    mesh.answer_all();
    let server = mesh.serve().address;
    let body = format!(r#"{{"features":[1,2],"callback_url":"{url}/field"}}"#);
    let head = "POST /v1/predict HTTP/1.1";
    let place = place(&call(server, head, body.as_bytes()).await);
    let (called, event) = received(&receiver, 204).await;
    assert!(called.starts_with("POST /hooks/field HTTP/1.1"), "{called}");
    let event: serde_json::Value = serde_json::from_slice(&event).unwrap();
    assert_eq!(event["data"]["location"], place.as_str());
    let same = call(server, &format!("{head}\r\nX-Forebay-Callback: {url}/field"), body.as_bytes()).await;
    assert_eq!(same.status, 202, "{same:?}");
    received(&receiver, 204).await;

    let other = call(server, &format!("{head}\r\nX-Forebay-Callback: {url}/header"), body.as_bytes()).await;
    assert!(other.status == 400 && other.body.contains("callback_url: differs"), "{other:?}");
    let elsewhere = body.replace(&url, "http://169.254.169.254");
    let elsewhere = call(server, head, elsewhere.as_bytes()).await;
    assert!(elsewhere.status == 400 && elsewhere.body.contains("async.callbacks"), "{elsewhere:?}");
    for path in ["/invocations", "/v1/models/m:predict", "/v2/models/m/infer", "/api/v1.0/predictions"] {
        let head = format!("POST {path} HTTP/1.1\r\nX-Forebay-Callback: {url}");
        let refused = call(server, &head, br#"{"inputs":[[1,2]]}"#).await;
        assert!(refused.status == 400 && refused.body.contains("X-Forebay-Callback"), "{path}: {refused:?}");
    }
    let plain = Mesh::start(&[]);
    let refused = call(plain.serve().address, head, body.as_bytes()).await;
    assert!(refused.status == 400 && refused.body.contains("async.store"), "{refused:?}");
}

#[actix_rt::test]
async fn only_allowed_public_and_willing_receivers_are_called() {
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = receiver.local_addr().unwrap().port();
    let (url, allowed) = (format!("http://localhost:{port}/"), format!("async.callbacks=http://localhost:{port}"));
    let mut mesh = Mesh::start(&["async.store=memory", &allowed, SECRET]);
    mesh.answer_all();
    let server = mesh.serve().address;
    let head = |url: &str| format!("POST /v1/predict HTTP/1.1\r\nX-Forebay-Callback: {url}");
    let other = call(server, &head("http://169.254.169.254/"), ROW).await;
    assert!(other.status == 400 && other.body.contains("async.callbacks"), "{other:?}");
    place(&call(server, &head(&url), ROW).await);
    let letters = |mesh: &Mesh| mesh.dead_letters.0.load(Ordering::SeqCst);
    until("the dead letter", async || letters(&mesh) == 1).await;
    assert!(tokio::time::timeout(Duration::from_millis(100), receiver.accept()).await.is_err(), "it is not public");

    let mut mesh = Mesh::start(&["async.store=memory", &allowed, SECRET, "async.callback_addresses=any"]);
    mesh.answer_all();
    let server = mesh.serve().address;
    place(&call(server, &head(&url), ROW).await);
    received(&receiver, 302).await;
    until("the dead letter", async || letters(&mesh) == 1).await;

    let nowhere = Mesh::start(&[]);
    let refused = call(nowhere.serve().address, &head(&url), ROW).await;
    assert!(refused.status == 400 && refused.body.contains("async.store"), "{refused:?}");
    assert!(Mesh::refused(&["async.callbacks=https://a.example/"]).contains("async.callback_secret"));
    assert!(Mesh::refused(&["async.callbacks=a.example", SECRET]).contains("async.callbacks"));
}

#[actix_rt::test]
async fn a_receiver_that_hangs_does_not_hold_up_another_one_and_is_given_up() {
    let (silent, healthy) =
        (TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let url = |receiver: &TcpListener| format!("http://{}/", receiver.local_addr().unwrap());
    let allowed = format!("async.callbacks=[\"{}\", \"{}\"]", url(&silent), url(&healthy));
    let flags = ["async.store=memory", &allowed, SECRET, "async.callback_addresses=any", "async.callback_retry=2s"];
    let mut mesh = Mesh::start(&flags);
    mesh.answer_all();
    let server = mesh.serve().address;
    let head = |url: &str| format!("POST /v1/predict HTTP/1.1\r\nX-Forebay-Callback: {url}");
    for _ in 0..20 {
        place(&call(server, &head(&url(&silent)), ROW).await);
    }
    place(&call(server, &head(&url(&healthy)), ROW).await);
    let began = Instant::now();
    received(&healthy, 204).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let calls = |outcome: &str| mesh.metric(&format!("forebay_async_callbacks_total{{outcome=\"{outcome}\"}}"));
    until("its count", async || calls("delivered") == Some(1.0)).await;
    // four had no turn, and end when their time is over
    until("the dead letters", async || mesh.dead_letters.0.load(Ordering::SeqCst) >= 4).await;
    until("the end of all", async || mesh.metric("forebay_async_running") == Some(0.0)).await;
    assert_eq!(calls("given_up"), Some(20.0));
}

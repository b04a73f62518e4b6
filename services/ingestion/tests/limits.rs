//! What one client can use of the HTTP server: size, time, memory and connections; and the origins that may call.
#![cfg(test)]

mod mesh;

use std::time::{Duration, Instant};

use mesh::{Mesh, call, predict, receive, send, until, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PREDICT: &str = "POST /v1/predict HTTP/1.1";

fn answering(flags: &[&str]) -> Mesh {
    let mut mesh = Mesh::start(flags);
    mesh.answer_all();
    mesh
}

/// A request whose body is announced but does not arrive.
async fn stalled(address: std::net::SocketAddr, announced: usize, sent: usize) -> TcpStream {
    let mut stream = within(TcpStream::connect(address)).await.unwrap();
    let head = format!("{PREDICT}\r\nHost: x\r\nConnection: close\r\nContent-Length: {announced}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; sent]).await.unwrap();
    stream
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[actix_rt::test]
async fn a_slow_body_is_given_up() {
    let mesh = answering(&["http.body_timeout=1s"]);
    let server = mesh.serve().address;
    let begin = Instant::now();
    let slow = receive(stalled(server, 100, 1).await).await;
    assert_eq!((slow.status, slow.code().as_str()), (400, "invalid_request"));
    assert!(slow.body.contains("did not arrive within 1000 ms"), "{slow:?}");
    assert!(begin.elapsed() >= Duration::from_secs(1));
    assert_eq!(predict(server, r#"{"features":[1]}"#).await.status, 200);
}

#[actix_rt::test]
async fn a_slow_head_is_given_up() {
    let mesh = answering(&["http.head_timeout=300ms"]);
    let server = mesh.serve().address;
    let mut stream = within(TcpStream::connect(server)).await.unwrap();
    stream.write_all(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\n").await.unwrap();
    let mut answer = Vec::new();
    within(stream.read_to_end(&mut answer)).await.unwrap();
    let (closed, timed_out) = (answer.is_empty(), answer.starts_with(b"HTTP/1.1 408"));
    assert!(closed || timed_out, "neither closed without an answer nor answered with 408: {}", text(&answer));
}

#[actix_rt::test]
async fn a_head_without_end_is_cut_off() {
    let mesh = answering(&[]);
    let server = mesh.serve().address;
    let mut stream = within(TcpStream::connect(server)).await.unwrap();
    let line = format!("X-Long: {}\r\n", "a".repeat(1000));
    drop(stream.write_all(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\n").await);
    for _ in 0..2000 {
        if stream.write_all(line.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    drop(within(stream.read_to_end(&mut answer)).await);
    let (closed, rejected) = (answer.is_empty(), answer.starts_with(b"HTTP/1.1 4"));
    assert!(closed || rejected, "neither closed without an answer nor rejected: {}", text(&answer));
    assert_eq!(predict(server, r#"{"features":[1]}"#).await.status, 200);
}

#[actix_rt::test]
async fn bodies_that_are_being_read_are_bounded_together() {
    let mesh = answering(&["http.body_memory=64KiB", "http.max_body=64KiB"]);
    let server = mesh.serve().address;
    let held = stalled(server, 60_000, 50_000).await;
    let shed = async || {
        let body = format!(r#"{{"features":[1]{}}}"#, " ".repeat(20_000));
        let answer = predict(server, &body).await;
        (answer.status == 429).then_some(answer)
    };
    until("exhausted memory", async || shed().await.is_some()).await;
    let answer = shed().await.unwrap();
    assert!(answer.body.contains("http.body_memory") && answer.header("retry-after") == Some("1"), "{answer:?}");
    assert_eq!(predict(server, r#"{"features":[1]}"#).await.status, 200, "small bodies still fit");
    drop(held);
    until("released memory", async || shed().await.is_none()).await;
}

#[actix_rt::test]
async fn concurrent_requests_are_bounded_before_their_bodies_are_read() {
    let mut mesh = Mesh::start(&["http.max_requests=1"]);
    let server = mesh.serve().address;
    let held = send(server, PREDICT, br#"{"features":[1]}"#).await;
    let items = mesh.items(1).await;
    let shed = predict(server, "not even json").await;
    assert_eq!((shed.status, shed.code().as_str(), shed.header("retry-after")), (429, "overloaded", Some("1")));
    assert!(shed.body.contains("http.max_requests"), "{shed:?}");
    mesh.reply(items.into_iter().map(mesh::sum).collect());
    assert_eq!(receive(held).await.status, 200);
    mesh.answer_all();
    assert_eq!(predict(server, r#"{"features":[1]}"#).await.status, 200);
}

#[actix_rt::test]
async fn connections_above_the_limit_are_not_accepted() {
    let mesh = answering(&["http.max_connections=2"]);
    let server = mesh.serve().address;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut stream = within(TcpStream::connect(server)).await.unwrap();
        let request = format!("{PREDICT}\r\nHost: x\r\nContent-Length: 16\r\n\r\n{{\"features\":[1]}}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut first = [0; 12];
        within(stream.read_exact(&mut first)).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        open.push(stream);
    }
    let third = send(server, PREDICT, br#"{"features":[1]}"#).await;
    let mut byte = [0];
    assert!(
        tokio::time::timeout(Duration::from_millis(300), third.peek(&mut byte)).await.is_err(),
        "it must not be served"
    );
    open.clear();
    assert_eq!(receive(third).await.status, 200, "served once a connection is free");
}

#[actix_rt::test]
async fn only_listed_origins_may_call() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(keys.path(), "# no keys\n").unwrap();
    let keys = format!("auth.keys_file={}", keys.path().display());
    let mesh = answering(&["http.cors_origins=https://app.example.org", &keys]);
    let server = mesh.serve().address;
    let preflight = async |origin: &str| {
        let head = format!(
            "OPTIONS /v1/predict HTTP/1.1\r\nOrigin: {origin}\r\nAccess-Control-Request-Method: POST\r\n\
             Access-Control-Request-Headers: x-api-key, content-type"
        );
        call(server, &head, b"").await
    };
    let allowed = preflight("https://app.example.org").await;
    assert_eq!(allowed.status, 200, "a preflight has no credentials: {allowed:?}");
    assert_eq!(allowed.header("access-control-allow-origin"), Some("https://app.example.org"));
    assert!(allowed.header("access-control-allow-headers").unwrap().to_ascii_lowercase().contains("x-api-key"));
    assert_eq!(allowed.header("access-control-allow-credentials"), None);
    for origin in ["https://evil.example.org", "https://app.example.org.evil.org", "http://app.example.org", "null"] {
        let refused = preflight(origin).await;
        assert_eq!((refused.status, refused.header("access-control-allow-origin")), (400, None), "{origin}");
    }
    let answer = call(server, &format!("{PREDICT}\r\nOrigin: https://app.example.org"), b"{}").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (401, Some("https://app.example.org")));
}

#[actix_rt::test]
async fn without_origins_there_is_no_cors() {
    let mesh = answering(&[]);
    let server = mesh.serve().address;
    let head = "OPTIONS /v1/predict HTTP/1.1\r\nOrigin: https://a.example\r\nAccess-Control-Request-Method: POST";
    let preflight = call(server, head, b"").await;
    assert_eq!((preflight.status, preflight.header("access-control-allow-origin")), (405, None));
    let answer = call(server, &format!("{PREDICT}\r\nOrigin: https://a.example"), br#"{"features":[1]}"#).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, None));
}

#[actix_rt::test]
async fn parameters_count_once_for_each_row() {
    let mesh = answering(&["http.body_memory=256KiB", "http.max_body=256KiB"]);
    let server = mesh.serve().address;
    let body = |rows: usize, value: usize| {
        let rows = vec!["[1]"; rows].join(",");
        format!(r#"{{"features":[{rows}],"params":{{"k":"{}"}}}}"#, "x".repeat(value))
    };
    let many = predict(server, &body(1000, 480)).await;
    assert_eq!((many.status, many.code().as_str()), (429, "overloaded"));
    assert_eq!(predict(server, &body(1000, 1)).await.status, 200);
    assert_eq!(predict(server, &body(10, 480)).await.status, 200);
}

//! HTTP/2 on the port of HTTP/1, against a fake mesh: requests, bounds, and the end of connections.
#![cfg(test)]

mod mesh;

use std::future::poll_fn;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use mesh::{LIMIT, Mesh, call, sum, until, within};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const ROW: &[u8] = br#"{"features":[1,2]}"#;

/// A client, and the task that ends with its connection.
async fn connect(address: SocketAddr) -> (SendRequest<Bytes>, tokio::task::JoinHandle<Result<(), h2::Error>>) {
    let stream = within(TcpStream::connect(address)).await.unwrap();
    let (client, connection) = within(h2::client::handshake(stream)).await.unwrap();
    (client, tokio::spawn(connection))
}

fn head(method: &str, path: &str) -> http::request::Builder {
    http::Request::builder().method(method).uri(format!("http://forebay.example{path}"))
}

/// Status, headers and body of an answer.
async fn answered(response: h2::client::ResponseFuture) -> (u16, http::HeaderMap, Vec<u8>) {
    let response = within(response).await.unwrap();
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while let Some(data) = within(body.data()).await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        bytes.extend_from_slice(&data);
    }
    (head.status.as_u16(), head.headers, bytes)
}

async fn request(
    client: &SendRequest<Bytes>,
    head: http::request::Builder,
    body: &[u8],
) -> (u16, http::HeaderMap, Vec<u8>) {
    let mut client = within(client.clone().ready()).await.unwrap();
    let (response, mut stream) = client.send_request(head.body(()).unwrap(), body.is_empty()).unwrap();
    if !body.is_empty() {
        stream.send_data(Bytes::copy_from_slice(body), true).unwrap();
    }
    answered(response).await
}

fn json_of(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

#[actix_rt::test]
async fn both_versions_share_a_port() {
    let mut mesh = Mesh::start(&[]);
    mesh.answer_all();
    let server = mesh.serve().address;
    let (client, _connection) = connect(server).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let (status, headers, body) = request(&client, head("POST", "/v1/predict").header("traceparent", trace), ROW).await;
    assert_eq!((status, &json_of(&body)["prediction"]), (200, &json!(3.0)));
    assert_eq!(headers["content-length"], body.len().to_string());
    assert!(headers["traceparent"].to_str().unwrap().contains("0af7651916cd43dd8448eb211c80319c"));
    let (status, headers, body) = request(&client, head("HEAD", "/openapi.json"), b"").await;
    assert!(
        status == 200 && body.is_empty() && headers["content-length"].to_str().unwrap().parse::<u32>().unwrap() > 1000
    );
    let (status, _, body) = request(&client, head("GET", "/openapi.json"), b"").await;
    assert!(status == 200 && json_of(&body)["openapi"].is_string(), "more than a window");
    let (status, _, body) = request(&client, head("GET", "/v2/nothing?a=%20b"), b"").await;
    assert_eq!((status, json_of(&body)["error"].is_string()), (404, true));
    let (status, _, body) = request(&client, head("POST", "/v1/predict"), b"{").await;
    assert_eq!((status, &json_of(&body)["error"]["code"]), (400, &json!("invalid_request")));
    // a client of the other version may send its first bytes one by one, and they may be those of the preface
    for method in ["POST", "PRIEST"] {
        let mut stream = within(TcpStream::connect(server)).await.unwrap();
        for byte in method.bytes() {
            stream.write_all(&[byte]).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let rest = " /v1/predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 18\r\n\r\n";
        stream.write_all(&[rest.as_bytes(), ROW].concat()).await.unwrap();
        let response = mesh::receive(stream).await;
        assert_eq!(response.status, if method == "POST" { 200 } else { 405 }, "{response:?}");
    }
}

/// Many clients lose an answer that comes with a reset of its stream.
#[actix_rt::test]
async fn an_answer_before_the_end_of_a_body_resets_nothing() {
    let mut mesh = Mesh::start(&[]);
    mesh.answer_all();
    let (client, connection) = connect(mesh.serve().address).await;
    for (path, most) in [("/nowhere", 300_000), ("/v1/predict", 2 << 20)] {
        let mut client = within(client.clone().ready()).await.unwrap();
        let head = head("POST", path).header("content-length", most).body(()).unwrap();
        let (response, mut stream) = client.send_request(head, false).unwrap();
        stream.reserve_capacity(most);
        stream.send_data(Bytes::from(vec![b' '; most / 2]), false).unwrap();
        let (status, _, _) = answered(response).await;
        assert!(status == 404 || status == 413, "{status}");
        let reset = tokio::time::timeout(Duration::from_millis(300), poll_fn(|cx| stream.poll_reset(cx))).await;
        assert!(reset.is_err(), "{path}: {reset:?}");
        stream.send_data(Bytes::from(vec![b' '; most - most / 2]), true).unwrap();
    }
    assert_eq!(request(&client, head("POST", "/v1/predict"), ROW).await.0, 200);
    drop(client);
    within(connection).await.unwrap().unwrap();
}

#[actix_rt::test]
async fn a_connection_has_at_most_a_hundred_requests_at_a_time() {
    let mut mesh = Mesh::start(&["http.body_timeout=1s"]);
    let server = mesh.serve().address;
    let (client, _connection) = connect(server).await;
    assert_eq!(request(&client, head("GET", "/"), b"").await.0, 200);
    let waiting: Vec<_> = (0..130)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { request(&client, head("POST", "/v1/predict"), ROW).await.0 })
        })
        .collect();
    let first = mesh.items(100).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(mesh.requests.try_recv().is_err(), "the others wait for the first hundred");
    mesh.reply(first.into_iter().map(sum).collect());
    let rest = mesh.items(30).await;
    mesh.reply(rest.into_iter().map(sum).collect());
    for answer in waiting {
        assert_eq!(within(answer).await.unwrap(), 200);
    }
    let long = head("GET", "/").header("x-long", "a".repeat(20 << 10));
    let mut ready = within(client.clone().ready()).await.unwrap();
    let refused = within(ready.send_request(long.body(()).unwrap(), true).unwrap().0).await;
    assert!(refused.map_or(true, |response| response.status() == 431), "a head of more than 16 KiB");
    // half a body
    let (client, _connection) = connect(server).await;
    let mut ready = within(client.ready()).await.unwrap();
    let half = head("POST", "/v1/predict").header("content-length", "18").body(()).unwrap();
    let (response, mut stream) = ready.send_request(half, false).unwrap();
    stream.send_data(Bytes::from_static(b"{"), false).unwrap();
    let (status, _, body) = answered(response).await;
    assert_eq!((status, String::from_utf8(body).unwrap().contains("within")), (400, true));
}

#[actix_rt::test]
async fn requests_over_all_connections_are_limited_and_released() {
    let mut mesh = Mesh::start(&["http.max_requests=2"]);
    let server = mesh.serve().address;
    let (one, two) = (connect(server).await, connect(server).await);
    let mut resets = Vec::new();
    for client in [&one.0, &two.0] {
        let mut ready = within(client.clone().ready()).await.unwrap();
        let (response, mut stream) = ready.send_request(head("POST", "/v1/predict").body(()).unwrap(), false).unwrap();
        stream.send_data(Bytes::from_static(ROW), true).unwrap();
        resets.push((response, stream));
    }
    drop(mesh.items(2).await);
    let (status, headers, _) = request(&one.0, head("GET", "/"), b"").await;
    assert_eq!((status, headers.contains_key("retry-after")), (429, true));
    // callers that give up take nothing any more
    for (_, stream) in &mut resets {
        stream.send_reset(h2::Reason::CANCEL);
    }
    until("the places to be free", async || request(&one.0, head("GET", "/"), b"").await.0 == 200).await;
    until("no request to wait", async || mesh.stage.pending.is_empty()).await;
}

#[actix_rt::test]
async fn connections_that_are_silent_or_idle_end() {
    let mut mesh = Mesh::start(&["http.head_timeout=300ms", "http.keep_alive=900ms"]);
    mesh.answer_all();
    let server = mesh.serve().address;
    // nothing, a part of the preface, the preface alone
    for start in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"]
    {
        let mut stream = within(TcpStream::connect(server)).await.unwrap();
        stream.write_all(start).await.unwrap();
        let mut bytes = Vec::new();
        drop(within(stream.read_to_end(&mut bytes)).await);
    }
    let (client, connection) = connect(server).await;
    for _ in 0..4 {
        assert_eq!(request(&client, head("POST", "/v1/predict"), ROW).await.0, 200);
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    let began = Instant::now();
    drop(within(connection).await.unwrap());
    assert!(began.elapsed() < LIMIT / 2);
}

#[actix_rt::test]
async fn requests_in_work_are_answered_at_the_end() {
    let mut mesh = Mesh::start(&[]);
    let server = mesh.serve();
    let (client, connection) = connect(server.address).await;
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { request(&client, head("POST", "/v1/predict"), ROW).await.0 })
    };
    let items = mesh.items(1).await;
    mesh.host.lifecycle().shutdown("test");
    let closed = tokio::spawn(server.close(LIMIT));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!waiting.is_finished());
    mesh.reply(items.into_iter().map(sum).collect());
    assert_eq!(within(waiting).await.unwrap(), 200);
    drop(client);
    drop(within(connection).await.unwrap());
    within(closed).await.unwrap();
}

#[actix_rt::test]
async fn http_1_is_served_as_before() {
    let mut mesh = Mesh::start(&[]);
    mesh.answer_all();
    let server = mesh.serve().address;
    let head = "POST /v1/predict HTTP/1.1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA";
    assert_eq!(call(server, head, ROW).await.status, 200, "an upgrade is not taken");
}

#[actix_rt::test]
async fn a_client_that_takes_no_answer_loses_its_connection_and_gives_its_requests_back() {
    let mesh = Mesh::start(&["http.body_timeout=200ms", "http.max_requests=4"]);
    let address = mesh.serve().address;
    let stream = within(TcpStream::connect(address)).await.unwrap();
    let mut builder = h2::client::Builder::new();
    let (client, connection) = within(builder.initial_window_size(0).handshake::<_, Bytes>(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut answers = Vec::new();
    for _ in 0..4 {
        let mut client = within(client.clone().ready()).await.unwrap();
        let (response, _) = client.send_request(head("GET", "/openapi.json").body(()).unwrap(), true).unwrap();
        answers.push(within(response).await.unwrap());
    }
    let (other, _task) = connect(address).await;
    assert_eq!(request(&other, head("GET", "/"), b"").await.0, 429, "their answers are not taken");
    // the client stays, and says so when it is pinged
    drop(within(connection).await);
    assert_eq!(request(&other, head("GET", "/"), b"").await.0, 200);
    drop(answers);
}

//! `Idempotency-Key` across two ingestion replicas: one answer, one inference, and a conflict for another payload.
#![cfg(feature = "real-services")]
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test ends at the first step that fails, and reads as one sequence"
)]

mod harness;

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use harness::topic::Reader;
use harness::{Mesh, Service, http, row, stop_all, wait_until};

const QUIET: Duration = Duration::from_millis(1500);

fn predict(service: &Service, key: &str, row: &str) -> http::HttpReply {
    let body = format!(r#"{{"request_id":"once","features":{row}}}"#);
    http::predict(service.http, &[("Idempotency-Key", key)], body).unwrap()
}

#[track_caller]
fn prediction(reply: &http::HttpReply) -> Value {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["prediction"].clone()
}

#[test]
fn one_key_is_one_request_wherever_it_arrives() {
    let mut mesh = Mesh::with_topics("key");
    // with a cache the second inference would be saved anyway, and the outside results show what was answered again
    mesh.set("FOREBAY__CACHE__POLICY", "off");
    mesh.set("FOREBAY__RESULTS__ALSO_HTTP", "true");
    let mut services = mesh.start_all();
    services.push(mesh.start("ingestion"));
    services.push(mesh.start("publishing"));
    services[5].wait_ready();
    services[6].wait_ready();
    let ingestion = [&services[0], &services[5]];
    let outside = Reader::from_now(&mesh.topic("results_out"));

    // at the same time, twelve times on two replicas
    let (first, replies) = std::thread::scope(|scope| {
        let call = |number: usize| scope.spawn(move || predict(ingestion[number % 2], "key-1", &row(1)));
        let callers: Vec<_> = (0..12).map(call).collect();
        let mut replies = callers.into_iter().map(|caller| caller.join().unwrap()).collect::<Vec<_>>();
        (replies.remove(0), replies)
    });
    let answer = prediction(&first);
    assert!(answer.is_number(), "{}", first.text());
    for reply in &replies {
        assert_eq!(prediction(reply), answer, "{}", reply.text());
    }
    assert!(outside.poll(Duration::from_secs(20)).is_some(), "a result outside");
    assert_eq!(outside.rest(QUIET).len(), 0, "one result outside for twelve askers");

    // later, on both
    for service in ingestion {
        assert_eq!(prediction(&predict(service, "key-1", &row(1))), answer);
    }
    assert_eq!(outside.rest(QUIET).len(), 0, "nothing new outside");

    // another payload under the same key, later
    for service in ingestion {
        let reply = predict(service, "key-1", &row(2));
        let json = reply.json();
        assert_eq!((reply.status, &json["error"]["code"]), (409, &json!("idempotency_conflict")), "{json}");
        assert!(json["error"]["message"].as_str().unwrap().contains("Idempotency-Key"), "{json}");
    }
    // ... and at the same time, on two replicas: the first to arrive is answered
    let replies: Vec<http::HttpReply> = std::thread::scope(|scope| {
        let call = |number: usize| scope.spawn(move || predict(ingestion[number], "key-2", &row(10 + number)));
        let callers: Vec<_> = (0..2).map(call).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    let mut statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409], "{} | {}", replies[0].text(), replies[1].text());

    // another key is another request, and an unusable key is refused
    assert_eq!(prediction(&predict(ingestion[0], "key-3", &row(1))), answer);
    let reply = predict(ingestion[0], &"k".repeat(256), &row(1));
    assert_eq!((reply.status, &reply.json()["error"]["code"]), (400, &json!("invalid_request")), "{}", reply.text());

    // many rows under one key
    let many = |service: &Service| {
        let body = format!(r#"{{"features":[{},{},{}]}}"#, row(21), row(22), row(23));
        http::predict(service.http, &[("Idempotency-Key", "key-4")], body).unwrap()
    };
    let (one, two) = (many(ingestion[0]), many(ingestion[1]));
    assert_eq!((one.status, two.status), (200, 200), "{} | {}", one.text(), two.text());
    assert_eq!(one.json()["predictions"], two.json()["predictions"]);
    assert_eq!(one.json()["predictions"].as_array().unwrap().len(), 3);
    stop_all(services);
}

/// The first caller hangs up while its request is in the mesh; the answer to its payload is no answer to another one,
/// and the answer to the same payload is.
#[test]
fn a_caller_that_hangs_up_leaves_no_answer_to_another_payload() {
    let mut mesh = Mesh::with_topics("key-hang-up");
    mesh.set("FOREBAY__CACHE__POLICY", "off");
    let mut services = mesh.start_all();
    let alone: Vec<Value> =
        (0..2).map(|n| prediction(&predict(&services[0], &format!("alone-{n}"), &row(n)))).collect();
    assert_ne!(alone[0], alone[1]);

    // without publishing nothing is answered until both requests are in the mesh
    services.remove(4).stop();
    let (ingestion, prediction_stage) = (&services[0], &services[3]);
    let hang_up = |key: &str| {
        let body = format!(r#"{{"features":{}}}"#, row(0));
        let head = format!("POST /v1/predict HTTP/1.1\r\nhost: x\r\nidempotency-key: {key}\r\n");
        let mut stream = TcpStream::connect(ingestion.http).unwrap();
        stream.write_all(format!("{head}content-length: {}\r\n\r\n", body.len()).as_bytes()).unwrap();
        // its outcome lies in the topic before those of later callers
        let scored = || prediction_stage.metric("forebay_model_rows_total", &[]);
        let before = scored();
        stream.write_all(body.as_bytes()).unwrap();
        wait_until(Duration::from_secs(20), "the request to be scored", || scored() > before);
        drop(stream);
        let waiting = || ingestion.metric("forebay_http_waiting_rows", &[]);
        wait_until(Duration::from_secs(20), "the caller to be gone", || waiting() == 0.0);
    };
    hang_up("left-1");
    hang_up("left-2");
    let (other, same, publishing) = std::thread::scope(|scope| {
        let other = scope.spawn(|| predict(ingestion, "left-1", &row(1)));
        let same = scope.spawn(|| predict(ingestion, "left-2", &row(0)));
        let waiting = || ingestion.metric("forebay_http_waiting_rows", &[]);
        wait_until(Duration::from_secs(20), "both callers to wait", || waiting() == 2.0);
        let publishing = mesh.start("publishing");
        (other.join().unwrap(), same.join().unwrap(), publishing)
    });
    services.push(publishing);
    assert_eq!(
        (other.status, &other.json()["error"]["code"]),
        (409, &json!("idempotency_conflict")),
        "{}",
        other.text()
    );
    assert_eq!(prediction(&same), alone[0]);
    stop_all(services);
}

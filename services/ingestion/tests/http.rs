//! The HTTP server against a fake mesh.
#![cfg(test)]

mod mesh;

use forebay_contract::{ErrorCode, ModelView, Origin, Problem, SplitKey};
use forebay_runtime::StartError;
use mesh::{Mesh, call, predict, receive, send, sum, within};
use serde_json::json;
use tokio::io::AsyncWriteExt;

const PREDICT: &str = "POST /v1/predict HTTP/1.1";

#[actix_rt::test]
async fn one_row_is_answered_with_its_prediction() {
    let mut mesh = Mesh::start(&[]);
    let server = mesh.serve();
    let header = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: a=b";
    let body =
        br#"{"request_id":"r1","features":[0.1,0.2],"model":"m","model_version":"v1","priority":-2,"timeout_ms":9000}"#;
    let stream = send(server.address, &format!("{PREDICT}\r\n{header}"), body).await;
    let (batch, ack) = mesh.arrived().await;
    ack.ack();
    assert_eq!((batch.items.len(), batch.stages.len()), (1, 1));
    let item = &batch.items[0];
    assert_eq!((item.payload.model.as_str(), item.payload.version.as_str()), ("m", "v1"));
    assert_eq!(item.payload.features, [0.1, 0.2]);
    let context = &item.context;
    assert_eq!((context.client_request_id(), context.priority(), context.rows()), (Some("r1"), -2, 1));
    assert_eq!(context.deadline_us() - context.accepted_us(), 9_000_000);
    assert_eq!(
        context.result_partition(),
        batch.batch_partition,
        "without a key the results partition is that of the batch"
    );
    assert!(context.sampled() && item.parent_span == 0xb7ad_6b71_6920_3331);
    assert!(matches!(context.origin(), Some(Origin::Http(_))));
    mesh.reply(batch.items.into_iter().map(sum).collect());

    let response = receive(stream).await;
    assert_eq!(response.status, 200);
    let answer = response.json();
    assert!(
        response
            .body
            .starts_with(r#"{"request_id":"r1","prediction":0.30000000000000004,"model_version":"v1","timestamp":"#)
    );
    assert_eq!(answer["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert!(answer["latency_ms"].as_f64().unwrap() > 0.0);
    assert!(response.header("traceparent").unwrap().starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
    assert_eq!(response.header("tracestate"), Some("a=b"));
}

#[actix_rt::test]
async fn the_key_of_a_client_comes_with_the_body_or_the_header() {
    let mut mesh = Mesh::start(&[]);
    let server = mesh.serve();
    let header = format!("{PREDICT}\r\nX-Forebay-Key: bob");
    let too_long = format!("{PREDICT}\r\nX-Forebay-Key: {}", "b".repeat(256));
    for (head, body, key) in [
        (PREDICT, r#"{"features":[1]}"#, None),
        (header.as_str(), r#"{"features":[[1],[2]]}"#, Some("bob")),
        (header.as_str(), r#"{"features":[1],"key":"alice"}"#, Some("alice")),
        (too_long.as_str(), r#"{"features":[1],"key":"alice"}"#, Some("alice")),
    ] {
        let stream = send(server.address, head, body.as_bytes()).await;
        let (batch, ack) = mesh.arrived().await;
        ack.ack();
        let key = key.map(SplitKey::of_text);
        assert!(batch.items.iter().all(|item| SplitKey::from_wire(item.payload.split_key) == key), "{body}");
        mesh.reply(batch.items.into_iter().map(sum).collect());
        assert_eq!(receive(stream).await.status, 200);
    }
}

#[actix_rt::test]
async fn many_rows_are_split_and_joined_again() {
    let mut mesh = Mesh::start(&[]);
    let server = mesh.serve();
    let rows: Vec<_> = (0..600).map(|row| if row == 7 { json!([-1.0]) } else { json!([row, 0.5]) }).collect();
    let body = json!({ "features": rows }).to_string();
    let stream = send(server.address, PREDICT, body.as_bytes()).await;
    let mut items = mesh.items(600).await;
    // back in another order, some twice
    items.reverse();
    mesh.reply(items[..10].iter().cloned().map(sum).collect());
    for chunk in items.chunks(100) {
        mesh.reply(chunk.iter().cloned().map(sum).collect());
    }
    let answer = receive(stream).await.json();
    let predictions = answer["predictions"].as_array().unwrap();
    assert_eq!(predictions.len(), 600);
    for (row, prediction) in predictions.iter().enumerate() {
        let expected = if row == 7 { json!(null) } else { json!(row as f64 + 0.5) };
        assert_eq!(*prediction, expected, "{row}");
    }
    assert_eq!(answer["errors"], json!([{ "row": 7, "code": "invalid_features", "message": "negative" }]));
    assert_eq!(answer["model_version"], "v3");
}

#[actix_rt::test]
async fn a_silent_mesh_is_answered_for_at_the_deadline() {
    let mut mesh = Mesh::start(&["delivery.timeout=200ms"]);
    let server = mesh.serve();
    let response = predict(server.address, r#"{"features":[1],"request_id":"r"}"#).await;
    assert_eq!((response.status, response.code().as_str()), (504, "deadline_exceeded"));
    assert_eq!(response.json()["request_id"], "r");
    assert!(mesh.stage.pending.is_empty());
    let shorter = predict(server.address, r#"{"features":[[1],[2]],"timeout_ms":1,"model_version":"v9"}"#).await;
    assert_eq!((shorter.status, &shorter.json()["model_version"]), (504, &json!("v9")));
    assert_eq!(mesh.items(3).await.len(), 3);
}

#[actix_rt::test]
async fn the_server_sheds_above_its_limit() {
    let mut mesh = Mesh::start(&["http.in_flight=2", "http.max_rows=2"]);
    let server = mesh.serve();
    let held = send(server.address, PREDICT, br#"{"features":[[1],[2]]}"#).await;
    let items = mesh.items(2).await;
    let shed = predict(server.address, r#"{"features":[1],"request_id":"late"}"#).await;
    assert_eq!((shed.status, shed.code().as_str(), shed.header("retry-after")), (429, "overloaded", Some("1")));
    assert_eq!(shed.json()["request_id"], "late");
    mesh.reply(items.into_iter().map(sum).collect());
    assert_eq!(receive(held).await.status, 200);
    let next = send(server.address, PREDICT, br#"{"features":[5]}"#).await;
    let items = mesh.items(1).await;
    mesh.reply(items.into_iter().map(sum).collect());
    assert_eq!(receive(next).await.json()["prediction"], 5.0);
}

#[actix_rt::test]
async fn a_request_that_the_mesh_cannot_accept_is_answered_at_once() {
    let mut mesh = Mesh::start(&[]);
    let server = mesh.serve();
    let stream = send(server.address, PREDICT, br#"{"features":[1]}"#).await;
    mesh.arrived().await.1.nack();
    let response = receive(stream).await;
    assert_eq!((response.status, response.code().as_str()), (503, "unavailable"));
    assert_eq!(response.header("retry-after"), Some("1"));
}

#[actix_rt::test]
async fn bad_input_gets_a_clear_error_and_never_reaches_the_mesh() {
    let mut mesh = Mesh::start(&["http.max_body=4KiB", "http.max_rows=3"]);
    let server = mesh.serve();
    let large = format!(r#"{{"features":[{}1]}}"#, "1,".repeat(3000));
    let table: &[(&str, u16, &str, &str)] = &[
        ("", 400, "invalid_request", "the body is empty"),
        ("{\"features\":[1", 400, "invalid_request", "line 1 column 14"),
        (r#"{"features":[1,{}]}"#, 400, "invalid_request", "features[1]"),
        (r#"{"features":[NaN]}"#, 400, "invalid_features", "features[0]"),
        (r#"{"features":[1e400]}"#, 400, "invalid_features", "features[0]"),
        (r#"{"features":[1],"extra":1}"#, 400, "invalid_request", "unknown field \"extra\""),
        (r#"{"features":[[1],[1],[1],[1]]}"#, 413, "payload_too_large", "http.max_rows"),
        (&large, 413, "payload_too_large", "http.max_body"),
    ];
    for (body, status, code, part) in table {
        let response = predict(server.address, body).await;
        assert_eq!((response.status, response.code().as_str()), (*status, *code), "{response:?}");
        let answer = response.json();
        assert!(answer["error"]["message"].as_str().unwrap().contains(part), "{response:?}");
        assert!(answer["prediction"].is_null() && answer["timestamp"].is_u64());
    }
    let labelled = predict(server.address, r#"{"request_id":"me","features":[1,[]]}"#).await;
    assert_eq!(labelled.json()["request_id"], "me");
    let key = call(server.address, &format!("{PREDICT}\r\nIdempotency-Key: \r\nX: y"), br#"{"features":[1]}"#).await;
    assert_eq!((key.status, key.code().as_str()), (400, "invalid_request"));
    assert!(mesh.requests.try_recv().is_err());
}

#[actix_rt::test]
async fn a_chunked_body_over_the_limit_is_refused_too() {
    let mesh = Mesh::start(&["http.max_body=1KiB"]);
    let server = mesh.serve();
    let mut stream = within(tokio::net::TcpStream::connect(server.address)).await.unwrap();
    let head = format!("{PREDICT}\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[b' '; 0x800]).await.unwrap();
    drop(stream.write_all(b"\r\n0\r\n\r\n").await);
    let response = receive(stream).await;
    assert_eq!((response.status, response.code().as_str()), (413, "payload_too_large"));
}

#[actix_rt::test]
async fn one_key_is_one_request() {
    let mut mesh = Mesh::start(&[]);
    let server = mesh.serve();
    let keyed = format!("{PREDICT}\r\nIdempotency-Key: k1");
    let first = send(server.address, &keyed, br#"{"features":[1,2]}"#).await;
    let (batch, ack) = mesh.arrived().await;
    ack.ack();
    assert!(batch.items[0].context.payload_digest().is_some());
    let second = send(server.address, &keyed, br#"{"features":[1.0,2],"request_id":"retry"}"#).await;
    let other = call(server.address, &keyed, br#"{"features":[1,3]}"#).await;
    assert_eq!((other.status, other.code().as_str()), (409, "idempotency_conflict"));
    // the second caller is on another connection than the conflict; wait until it is registered as well
    within(async {
        while mesh.host.metrics().encode().unwrap().lines().all(|line| line != "forebay_http_waiting_rows 2") {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
    let id = batch.items[0].context.request_id();
    mesh.reply(batch.items.into_iter().map(sum).collect());
    let (first, second) = (receive(first).await.json(), receive(second).await.json());
    assert_eq!((&first["prediction"], &second["prediction"]), (&json!(3.0), &json!(3.0)));
    assert_eq!(second["request_id"], "retry");
    assert!(mesh.requests.try_recv().is_err(), "the second caller adds no work");

    // later the same request goes into the mesh again, where publishing recognises it
    let third = send(server.address, &keyed, br#"{"features":[9]}"#).await;
    let item = mesh.items(1).await.remove(0);
    assert_eq!(item.context.request_id(), id);
    mesh.reply(vec![item.with(Problem::new(ErrorCode::IdempotencyConflict, "other payload").into())]);
    assert_eq!(receive(third).await.status, 409);
}

#[actix_rt::test]
async fn a_key_whose_first_caller_hung_up_never_answers_another_payload() {
    let mut mesh = Mesh::start(&[]);
    let server = mesh.serve();
    let keyed = format!("{PREDICT}\r\nIdempotency-Key: k1");
    let first = send(server.address, &keyed, br#"{"features":[1]}"#).await;
    let first_item = mesh.items(1).await.remove(0);
    drop(first);
    within(mesh.stage.pending.idle()).await;
    let second = send(server.address, &keyed, br#"{"features":[2]}"#).await;
    let second_item = mesh.items(1).await.remove(0);
    mesh.reply(vec![sum(first_item)]);
    mesh.reply(vec![second_item.with(Problem::new(ErrorCode::IdempotencyConflict, "other payload").into())]);
    let answer = receive(second).await;
    assert_eq!((answer.status, answer.code().as_str()), (409, "idempotency_conflict"), "{answer:?}");
}

#[actix_rt::test]
async fn a_second_caller_of_a_key_has_its_own_deadline() {
    let mut mesh = Mesh::start(&[]);
    let server = mesh.serve();
    let keyed = format!("{PREDICT}\r\nIdempotency-Key: k1");
    let first = send(server.address, &keyed, br#"{"features":[1],"timeout_ms":300}"#).await;
    let expired = mesh.items(1).await.remove(0);
    let second = send(server.address, &keyed, br#"{"features":[1],"timeout_ms":20000}"#).await;
    assert_eq!(receive(first).await.status, 504);
    mesh.reply(vec![expired.with(Problem::new(ErrorCode::DeadlineExceeded, "late").into())]);
    let own = mesh.items(1).await.remove(0);
    assert_eq!(own.context.deadline_us() - own.context.accepted_us(), 20_000_000);
    mesh.reply(vec![sum(own)]);
    assert_eq!(receive(second).await.json()["prediction"], 1.0);
}

#[actix_rt::test]
async fn a_caller_that_hangs_up_releases_its_permits() {
    let mut mesh = Mesh::start(&["http.in_flight=1", "http.max_rows=1"]);
    let server = mesh.serve();
    let stream = send(server.address, PREDICT, br#"{"features":[1]}"#).await;
    mesh.items(1).await;
    assert_eq!(mesh.stage.pending.len(), 1);
    drop(stream);
    within(mesh.stage.pending.idle()).await;
    let next = send(server.address, PREDICT, br#"{"features":[2]}"#).await;
    let items = mesh.items(1).await;
    mesh.reply(items.into_iter().map(sum).collect());
    assert_eq!(receive(next).await.status, 200);
}

#[actix_rt::test]
async fn a_draining_replica_finishes_pending_requests_and_accepts_no_new_ones() {
    let mut mesh = Mesh::start(&[]);
    let server = mesh.serve();
    let address = server.address;
    let held = send(address, PREDICT, br#"{"features":[4]}"#).await;
    let items = mesh.items(1).await;
    mesh.host.lifecycle().shutdown("test");
    let refused = predict(address, r#"{"features":[1]}"#).await;
    assert_eq!((refused.status, refused.code().as_str()), (503, "unavailable"));
    let closing = actix_rt::spawn(server.close(mesh::LIMIT));
    mesh.reply(items.into_iter().map(sum).collect());
    assert_eq!(receive(held).await.json()["prediction"], 4.0);
    within(closing).await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[actix_rt::test]
async fn a_taken_port_names_its_setting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let flag = format!("http.listen={}", taken.local_addr().unwrap());
    let mesh = Mesh::start(&[&flag]);
    match mesh.stage.serve_http(&mesh.host) {
        Err(StartError::Setting { key, .. }) => assert_eq!(key, "http.listen"),
        other => panic!("{other:?}"),
    }
    assert!(mesh.host.lifecycle().failure().is_none());
}

#[actix_rt::test]
async fn other_paths_answer_with_json_too() {
    let mesh = Mesh::start(&[]);
    let server = mesh.serve();
    let get = async |path: &str| call(server.address, &format!("GET {path} HTTP/1.1"), b"").await;
    let missing = get("/nope").await;
    assert_eq!((missing.status, missing.code().as_str()), (404, "invalid_request"));
    let wrong = get("/v1/predict").await;
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST")));
    assert_eq!(get("/").await.json()["documentation"], "GET /openapi.json");
    let document = get("/openapi.json").await.json();
    assert!(document["paths"]["/v1/predict"]["post"]["responses"]["504"].is_object());
    let models = get("/v1/models").await;
    assert_eq!((models.status, models.code().as_str()), (503, "unavailable"), "no replica has reported yet");
    assert_eq!(models.header("retry-after"), Some("1"));
    mesh.directory.on_view(ModelView { model: "m".into(), ..ModelView::default() });
    let models = get("/v1/models").await;
    assert_eq!((models.status, models.json()["models"][0]["name"].as_str()), (200, Some("m")), "{models:?}");
}

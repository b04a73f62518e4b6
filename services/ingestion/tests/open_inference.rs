//! The Open Inference Protocol against a fake mesh: its requests get what those of `/v1/predict` get.
#![cfg(test)]

mod mesh;

use forebay_contract::{LoadState, ModelView, RowFormat, VersionState, ViewVersion};
use forebay_ingestion::auth::ApiKey;
use mesh::{Mesh, Response, call, receive, send, sum};
use serde_json::json;

const INFER: &str = "POST /v2/models/m/infer HTTP/1.1";

/// A mesh with version 3 of the model `m`, which has two columns.
fn serving(flags: &[&str]) -> Mesh {
    let mut all = vec!["models.name=m"];
    all.extend(flags);
    let mesh = Mesh::start(&all);
    let version = ViewVersion { version: 3, stage: "Production".into(), ..ViewVersion::default() };
    mesh.directory.publish_view(ModelView { model: "m".into(), versions: vec![version], ..ModelView::default() });
    let features = vec!["a".into(), "b".into()];
    mesh.directory.describe("m", 3, RowFormat { features, accepts_missing: true, ..RowFormat::default() });
    let ready = VersionState { version: 3, state: LoadState::Ready.into(), ..VersionState::default() };
    mesh.directory.report("m", Some(3), vec![ready]);
    mesh
}

fn body(data: serde_json::Value) -> Vec<u8> {
    let rows = data.as_array().unwrap().len() / 2;
    let inputs = json!([{ "name": "x", "shape": [rows, 2], "datatype": "FP64", "data": data }]);
    json!({ "id": "r1", "parameters": { "timeout": 9_000_000, "priority": 1 }, "inputs": inputs })
        .to_string()
        .into_bytes()
}

fn error(response: &Response) -> String {
    assert_eq!(response.header("content-type"), Some("application/json"));
    let json = response.json();
    assert_eq!(json.as_object().unwrap().len(), 1, "{json}");
    json["error"].as_str().unwrap().to_owned()
}

#[actix_rt::test]
async fn a_request_travels_like_any_other() {
    let mut mesh = serving(&[]);
    let server = mesh.serve();
    let trace = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let stream = send(server.address, &format!("{INFER}\r\n{trace}"), &body(json!([1, 2, 3, 4]))).await;
    let items = mesh.items(2).await;
    let context = &items[1].context;
    assert_eq!((context.client_request_id(), context.priority(), context.rows()), (Some("r1"), 0, 2));
    assert_eq!(context.deadline_us() - context.accepted_us(), 9_000_000);
    assert!(context.sampled() && items[1].parent_span == 0xb7ad_6b71_6920_3331);
    assert_eq!((items[1].payload.model.as_str(), &items[1].payload.features[..]), ("m", &[3.0, 4.0][..]));
    mesh.reply(items.into_iter().map(sum).collect());
    let response = receive(stream).await;
    assert_eq!(response.status, 200);
    assert!(response.header("traceparent").unwrap().starts_with("00-0af7651916cd43dd8448eb211c80319c-"));
    let outputs = json!([{ "name": "predict", "shape": [2], "datatype": "FP64", "data": [3.0, 7.0] }]);
    let expected = json!({ "model_name": "m", "model_version": "0", "id": "r1", "outputs": outputs });
    assert_eq!(response.json(), expected);
}

#[actix_rt::test]
async fn errors_have_the_form_of_the_protocol_wherever_they_come_from() {
    let mut mesh = serving(&["http.in_flight=4", "http.max_rows=4", "delivery.timeout=300ms"]);
    let server = mesh.serve();
    let infer = |path: &'static str, data| async move {
        call(server.address, &format!("POST {path} HTTP/1.1"), &body(data)).await
    };
    let path = "/v2/models/m/infer";
    let missing = infer("/v2/models/n/infer", json!([1, 2])).await;
    assert_eq!((missing.status, error(&missing).as_str()), (404, "Request for unknown model: 'n' is not found"));
    let version = infer("/v2/models/m/versions/9/infer", json!([1, 2])).await;
    assert_eq!(version.status, 404);
    let many = infer(path, json!([0, 0, 0, 0, 0, 0, 0, 0, 0, 0])).await;
    assert_eq!((many.status, error(&many).contains("5 rows")), (413, true));
    let silent =
        call(server.address, INFER, br#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP64","data":[1,2]}]}"#).await;
    assert_eq!((silent.status, error(&silent).is_empty()), (504, false));
    let held = send(server.address, INFER, &body(json!([1, 2, 3, 4, 5, 6]))).await;
    let items = mesh.items(4).await;
    let shed = infer(path, json!([1, 2, 3, 4])).await;
    assert_eq!((shed.status, shed.header("retry-after"), error(&shed).is_empty()), (429, Some("1"), false));
    // the model refuses a row whose first value is negative
    mesh.reply(items.into_iter().map(sum).collect());
    assert_eq!(receive(held).await.status, 200);
    mesh.answer_all();
    let refused = infer(path, json!([1, 2, -1, 2])).await;
    assert_eq!((refused.status, error(&refused).as_str()), (400, "row 1: negative"));
    assert!(mesh.metric("inference_errors_total").unwrap_or_default() > 0.0);
}

#[actix_rt::test]
async fn one_idempotency_key_gives_one_answer() {
    let mut mesh = serving(&[]);
    let server = mesh.serve();
    let head = format!("{INFER}\r\nIdempotency-Key: k");
    let first = send(server.address, &head, &body(json!([1, 2]))).await;
    let items = mesh.items(1).await;
    assert!(items[0].context.payload_digest().is_some());
    let conflict = call(server.address, &head, &body(json!([1, 3]))).await;
    assert_eq!((conflict.status, error(&conflict).is_empty()), (409, false));
    mesh.reply(items.into_iter().map(sum).collect());
    assert_eq!(receive(first).await.status, 200);
}

#[actix_rt::test]
async fn the_same_credentials_are_needed_except_for_health() {
    let (key, other) = (ApiKey::generate().unwrap(), ApiKey::generate().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    std::fs::write(&file, format!("a {}\nb {} models=n\n", key.hash(), other.hash())).unwrap();
    let mut mesh = serving(&[&format!("auth.keys_file={}", file.display())]);
    mesh.answer_all();
    let server = mesh.serve();
    let get = |path: &str, header: String| {
        let head = format!("GET {path} HTTP/1.1{header}");
        async move { call(server.address, &head, b"").await }
    };
    let header = |key: &ApiKey| format!("\r\nX-API-Key: {}", key.expose());
    for path in ["/v2/health/live", "/v2/health/ready"] {
        assert_eq!(get(path, String::new()).await.status, 200, "{path}");
    }
    let paths =
        ["/v2", "/v2/models/m", "/v2/models/m/ready", "/v2/models/m/config", "/v2/models/m/stats", "/v2/models/stats"];
    for path in paths {
        let open = get(path, String::new()).await;
        assert_eq!(
            (open.status, open.header("www-authenticate").is_some(), error(&open).is_empty()),
            (401, true, false),
            "{path}"
        );
        assert_eq!(get(path, header(&key)).await.status, 200, "{path}");
    }
    for path in [
        "/v1/models/m:predict",
        "/api/v1.0/predictions",
        "/invocations",
        "/models/m/invocations",
        "/endpoints/m/invocations",
    ] {
        let post = |header: String, table: &'static str| async move {
            call(server.address, &format!("POST {path} HTTP/1.1{header}"), table.as_bytes()).await.status
        };
        let table = if path.starts_with("/api") { r#"{"data":{"ndarray":[[1,2]]}}"# } else { r#"{"inputs":[[1,2]]}"# };
        let statuses =
            (post(String::new(), table).await, post(header(&key), table).await, post(header(&other), table).await);
        assert_eq!(statuses, (401, 200, 403), "{path}");
        // what is wrong with a request says nothing of a model that the caller may not use
        let wrong = table.replace("[1,2]", "[1,2,3]");
        let body =
            call(server.address, &format!("POST {path} HTTP/1.1{}", header(&other)), wrong.as_bytes()).await.body;
        assert!(body.contains("b is not allowed to use model"), "{path}: {body}");
    }
    assert_eq!(get("/v1/models/m", String::new()).await.status, 401);
    let infer = |header: String| async move {
        call(server.address, &format!("{INFER}{header}"), &body(json!([1, 2]))).await.status
    };
    assert_eq!((infer(String::new()).await, infer(header(&key)).await, infer(header(&other)).await), (401, 200, 403));
    for model in ["m", "absent"] {
        for path in [format!("/v2/models/{model}"), format!("/v1/models/{model}")] {
            assert_eq!(get(&path, header(&other)).await.status, 403, "{path}");
        }
        for path in [format!("/v2/models/{model}/infer"), format!("/v1/models/{model}:predict")] {
            let head = format!("POST {path} HTTP/1.1{}", header(&other));
            assert_eq!(call(server.address, &head, &body(json!([1, 2, 3, 4]))).await.status, 403, "{path}");
        }
    }
    let index = |header: String| async move {
        call(server.address, &format!("POST /v2/repository/index HTTP/1.1{header}"), b"").await
    };
    assert_eq!(
        index(header(&key)).await.json(),
        json!([{ "name": "m", "version": "3", "state": "READY", "reason": "" }])
    );
    assert_eq!(index(header(&other)).await.json(), json!([]));
}

//! What is asked by clients and has an answer.

use serde_json::{Value, json};

use super::Case;
use super::server::{JSON, JSON_LENGTH, Server, check};

pub(super) fn all() -> impl Iterator<Item = Case> {
    health().into_iter().chain(metadata()).chain(inference()).chain(binary())
}

fn health() -> Vec<Case> {
    fn ok(server: &Server, path: &str) -> Result<(), String> {
        let reply = server.get(path)?;
        check(reply.status == 200, &reply)
    }
    let case = |what, check| Case { area: "health", what, check };
    vec![
        case("the server lives", |server| ok(server, "/v2/health/live")),
        case("the server is ready", |server| ok(server, "/v2/health/ready")),
        case("the model is ready", |server| ok(server, &server.path("/ready"))),
    ]
}

fn metadata() -> Vec<Case> {
    let case = |what, check| Case { area: "metadata", what, check };
    vec![
        case("the body of live is JSON, for KServe's SDK", |server| {
            let reply = server.get("/v2/health/live")?;
            check(reply.json()["live"] == true, &reply)
        }),
        case("the body of ready is JSON, for KServe's SDK", |server| {
            let reply = server.get("/v2/health/ready")?;
            check(reply.json()["ready"] == true, &reply)
        }),
        case("the server has a name, a version and extensions", |server| {
            let reply = server.get("/v2")?;
            let json = reply.json();
            check(json["name"].is_string() && json["version"].is_string() && json["extensions"].is_array(), &reply)
        }),
        case("the path may end with a slash", |server| {
            let reply = server.get("/v2/")?;
            check(reply.status == 200 && reply.json()["name"].is_string(), &reply)
        }),
        case("the model has versions, a platform and outputs", |server| {
            let reply = server.get(&server.path(""))?;
            let json = reply.json();
            let lists = json["versions"].is_array() && json["outputs"][0]["datatype"].is_string();
            check(json["name"] == server.model.as_str() && json["platform"].is_string() && lists, &reply)
        }),
        case("the configuration that perf_analyzer reads", |server| {
            let reply = server.get(&server.path("/config"))?;
            let json = reply.json();
            check(json["max_batch_size"].is_u64() && json["input"][0]["dims"].is_array(), &reply)
        }),
        case("the repository's index, with an empty body", |server| {
            let reply = server.send("POST", "/v2/repository/index", &[], b"")?;
            let json = reply.json();
            let known = json.as_array().is_some_and(|all| all.iter().any(|it| it["name"] == server.model.as_str()));
            check(reply.status == 200 && known, &reply)
        }),
    ]
}

/// Sends a request in JSON that must get the usual answer.
fn same(server: &Server, headers: &[(&str, &str)], path: &str, document: &Value) -> Result<(), String> {
    let expected = server.expected()?;
    let reply = server.send("POST", path, headers, document.to_string().as_bytes())?;
    let data = server.data(&reply)?;
    check(data == expected, &reply)
}

fn inference() -> Vec<Case> {
    let case = |what, check| Case { area: "infer", what, check };
    vec![
        case("a flat array", |server| {
            let data = server.expected()?;
            if data.is_empty() { Err("no data".to_owned()) } else { Ok(()) }
        }),
        case("a nested array, as in KServe's examples", |server| {
            let mut document = server.document();
            let rows = server.rows();
            document["inputs"][0]["data"] = json!(rows.chunks(server.width).collect::<Vec<_>>());
            same(server, &[JSON], &server.path("/infer"), &document)
        }),
        case("without a content type, as tritonclient.http sends it", |server| {
            same(server, &[], &server.path("/infer"), &server.document())
        }),
        case("JSON as application/octet-stream, as tritonclient.http.aio sends it", |server| {
            let kind = ("content-type", "application/octet-stream");
            same(server, &[kind], &server.path("/infer"), &server.document())
        }),
        case("with the field model_name, as KServe's SDK sends it", |server| {
            let mut document = server.document();
            document["model_name"] = json!(server.model);
            same(server, &[JSON], &server.path("/infer"), &document)
        }),
        case("with a query, as in Triton's examples", |server| {
            same(server, &[JSON], &server.path("/infer?test_1=1&test_2=2"), &server.document())
        }),
        case("an output by its name", |server| {
            let name = server.infer(&server.document())?.json()["outputs"][0]["name"].clone();
            let mut document = server.document();
            document["outputs"] = json!([{ "name": name }]);
            same(server, &[JSON], &server.path("/infer"), &document)
        }),
        case("an id comes back", |server| {
            let mut document = server.document();
            document["id"] = json!("r-1");
            let reply = server.infer(&document)?;
            check(reply.json()["id"] == "r-1", &reply)
        }),
        case("an empty id is none, as perf_analyzer sends it", |server| {
            let mut document = server.document();
            document["id"] = json!("");
            same(server, &[JSON], &server.path("/infer"), &document)
        }),
    ]
}

fn binary() -> Vec<Case> {
    let case = |what, check| Case { area: "binary tensors", what, check };
    vec![
        case("raw input, JSON output", |server| {
            let expected = server.expected()?;
            let (body, length) = server.raw_request();
            let reply = server.send("POST", &server.path("/infer"), &[(JSON_LENGTH, &length)], &body)?;
            let data = server.data(&reply)?;
            check(data == expected, &reply)
        }),
        case("JSON input, raw output", |server| {
            let mut document = server.document();
            document["parameters"] = json!({ "binary_data_output": true });
            let reply = server.infer(&document)?;
            let length = reply.header(JSON_LENGTH).and_then(|length| length.parse::<usize>().ok());
            let Some((json, raw)) = length.and_then(|length| reply.body.split_at_checked(length)) else {
                return Err("no Inference-Header-Content-Length".to_owned());
            };
            let answer: Value = serde_json::from_slice(json).map_err(|error| error.to_string())?;
            let size = answer["outputs"][0]["parameters"]["binary_data_size"].as_u64();
            check(size == u64::try_from(raw.len()).ok() && !raw.is_empty(), &reply)
        }),
    ]
}

//! What must be refused: with a status of the caller's fault, as JSON with the text of an error, and without harm.

use serde_json::{Value, json};

use super::Case;
use super::server::{JSON, JSON_LENGTH, Server, check};
use crate::mesh_under_test::http_client::HttpReply;

pub(super) fn all() -> impl Iterator<Item = Case> {
    bodies().into_iter().chain(tensors()).chain(addresses())
}

/// Refused as clients can read it.
fn refused(reply: &HttpReply) -> Result<(), String> {
    let json = reply.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
    let text = reply.json()["error"].as_str().is_some_and(|text| !text.is_empty());
    check((400..500).contains(&reply.status) && json && text, reply)
}

fn body(server: &Server, headers: &[(&str, &str)], bytes: &[u8]) -> Result<(), String> {
    refused(&server.send("POST", &server.path("/infer"), headers, bytes)?)
}

fn bodies() -> Vec<Case> {
    let case = |what, check| Case { area: "refused bodies", what, check };
    vec![
        case("no JSON", |server| body(server, &[JSON], b"{")),
        case("nothing", |server| body(server, &[JSON], b"")),
        case("no inputs", |server| body(server, &[JSON], br#"{"inputs":[]}"#)),
        case("a JSON length that is more than the body", |server| {
            body(server, &[(JSON_LENGTH, "2147483648")], server.document().to_string().as_bytes())
        }),
        case("a negative JSON length", |server| {
            body(server, &[(JSON_LENGTH, "-1")], server.document().to_string().as_bytes())
        }),
        case("raw bytes that are cut off", |server| {
            let (bytes, length) = server.raw_request();
            body(server, &[(JSON_LENGTH, &length)], &bytes[..bytes.len() - 1])
        }),
        case("raw bytes that are left over", |server| {
            let (bytes, length) = server.raw_request();
            body(server, &[(JSON_LENGTH, &length)], &[&bytes[..], b"x"].concat())
        }),
    ]
}

/// The usual request with another value in its tensor.
fn tensor(server: &Server, field: &str, value: Value) -> Result<(), String> {
    let mut document = server.document();
    document["inputs"][0][field] = value;
    refused(&server.infer(&document)?)
}

/// The usual request with this text as the first value of its tensor.
fn token(server: &Server, token: &str) -> Result<HttpReply, String> {
    let mut document = server.document();
    document["inputs"][0]["data"][0] = json!("@");
    let text = document.to_string().replace("\"@\"", token);
    server.send("POST", &server.path("/infer"), &[JSON], text.as_bytes())
}

fn tensors() -> Vec<Case> {
    let case = |what, check| Case { area: "refused tensors", what, check };
    vec![
        case("fewer values than the shape says", |server| tensor(server, "data", json!([0.5]))),
        case("a negative size", |server| tensor(server, "shape", json!([-2, server.width]))),
        case("a shape of more elements than there are numbers", |server| {
            tensor(server, "shape", json!([1_u64 << 62, 1_u64 << 62]))
        }),
        case("a datatype that does not exist", |server| tensor(server, "datatype", json!("FP33"))),
        case("text in a tensor of floats", |server| token(server, "\"a\"").and_then(|reply| refused(&reply))),
        case("Infinity", |server| token(server, "Infinity").and_then(|reply| refused(&reply))),
        case("NaN: refused, or a number, never null", |server| {
            let reply = token(server, "NaN")?;
            match reply.status {
                200 => {
                    let data = server.data(&reply)?;
                    check(data.iter().all(|value| !value.is_null()), &reply)
                }
                _ => refused(&reply),
            }
        }),
        case("arrays nested 1000 deep", |server| {
            let deep = format!("{}0.5{}", "[".repeat(1000), "]".repeat(1000));
            token(server, &deep).and_then(|reply| refused(&reply))
        }),
        case("an output that the model does not have", |server| {
            let mut document = server.document();
            document["outputs"] = json!([{ "name": "no-such-output" }]);
            refused(&server.infer(&document)?)
        }),
        case("an output twice", |server| {
            let name = server.infer(&server.document())?.json()["outputs"][0]["name"].clone();
            let mut document = server.document();
            document["outputs"] = json!([{ "name": name }, { "name": name }]);
            refused(&server.infer(&document)?)
        }),
    ]
}

fn addresses() -> Vec<Case> {
    let case = |what, check| Case { area: "refused addresses", what, check };
    vec![
        case("inference of a model that does not exist", |server| {
            let body = server.document().to_string();
            refused(&server.send("POST", "/v2/models/no-such-model/infer", &[JSON], body.as_bytes())?)
        }),
        case("metadata of a model that does not exist", |server| refused(&server.get("/v2/models/no-such-model")?)),
        case("GET instead of POST", |server| {
            let reply = server.get(&server.path("/infer"))?;
            check(matches!(reply.status, 404 | 405), &reply)
        }),
        case("and after all this the model answers", |server| server.expected().map(drop)),
    ]
}

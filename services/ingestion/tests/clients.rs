//! What clients of other servers rely on, against a fake mesh: paths, codings, headers for browsers.
#![cfg(test)]

mod mesh;

use forebay_contract::{LoadState, ModelView, RowFormat, VersionState, ViewVersion};
use mesh::{Mesh, call};
use serde_json::json;

const ROW: &[u8] = br#"{"features":[1,2]}"#;
const GZIP: &str = "Accept-Encoding: gzip";

/// A mesh with version 3 of models whose names need quoting.
fn serving(flags: &[&str]) -> Mesh {
    let mut all = vec!["models.name=a+b"];
    all.extend(flags);
    let mesh = Mesh::start(&all);
    for model in ["a+b", "c/d", "50%25"] {
        let version = ViewVersion { version: 3, stage: "Production".into(), ..ViewVersion::default() };
        mesh.directory.publish_view(ModelView { model: model.into(), versions: vec![version], ..ModelView::default() });
        let (features, output_name) = (vec!["a".into(), "b".into()], "y".to_owned());
        mesh.directory.describe(model, 3, RowFormat { features, outputs: 1, output_name, ..RowFormat::default() });
        let ready = VersionState { version: 3, state: LoadState::Ready.into(), ..VersionState::default() };
        mesh.directory.report(model, Some(3), vec![ready]);
    }
    mesh
}

#[actix_rt::test]
async fn names_in_paths_are_decoded_once() {
    let mut mesh = serving(&[]);
    mesh.answer_all();
    let server = mesh.serve().address;
    // as urllib quotes them: 50%25 is a name with a percent sign and two digits
    for (quoted, name) in [("a%2Bb", "a+b"), ("a+b", "a+b"), ("c%2Fd", "c/d"), ("50%2525", "50%25")] {
        let described = call(server, &format!("GET /v2/models/{quoted} HTTP/1.1"), b"").await;
        assert_eq!((described.status, described.json()["name"].as_str()), (200, Some(name)), "{quoted}");
        let loaded = call(server, &format!("POST /v2/repository/models/{quoted}/load HTTP/1.1"), b"").await;
        assert_eq!(loaded.status, 200, "{quoted}: {loaded:?}");
        for (path, body) in [
            (format!("/v1/models/{quoted}:predict"), &br#"{"instances":[[1,2]]}"#[..]),
            (format!("/models/{quoted}/invocations"), br#"{"inputs":[[1,2]]}"#),
            (format!("/seldon/{quoted}/api/v1.0/predictions"), br#"{"data":{"names":null,"ndarray":[[1,2]]}}"#),
            (format!("/seldon/space/{quoted}/api/v1.0/predictions"), br#"{"data":{"ndarray":[[1,2]]}}"#),
        ] {
            let answered = call(server, &format!("POST {path} HTTP/1.1"), body).await;
            assert_eq!(answered.status, 200, "{path}: {answered:?}");
        }
    }
    assert_eq!(call(server, "GET /v2/models/50%25 HTTP/1.1", b"").await.status, 404, "not decoded twice");
}

#[actix_rt::test]
async fn answers_are_compressed_on_every_path_and_errors_are_not() {
    let mut mesh = serving(&["async.store=memory"]);
    mesh.answer_all();
    let server = mesh.serve().address;
    let coded = async |head: String, body: &[u8]| {
        let response = call(server, &format!("{head} HTTP/1.1\r\n{GZIP}"), body).await;
        (response.status, response.header("content-encoding").map(str::to_owned))
    };
    let gzip = || Some("gzip".to_owned());
    assert_eq!(coded("POST /v1/predict".into(), ROW).await, (200, gzip()));
    assert_eq!(coded("GET /v1/models".into(), b"").await, (200, gzip()));
    assert_eq!(coded("GET /openapi.json".into(), b"").await, (200, gzip()));
    let instances = br#"{"instances":[[1,2]]}"#;
    assert_eq!(coded("POST /v1/models/a+b:predict".into(), instances).await, (200, gzip()));
    let later = call(server, "POST /v1/predict HTTP/1.1\r\nPrefer: respond-async", ROW).await;
    let place = later.header("location").unwrap();
    assert_eq!(coded(format!("GET {place}?wait=20"), b"").await, (200, gzip()));
    for (head, body) in [
        ("POST /v1/predict", &b"{"[..]),
        ("POST /v1/models/a+b:predict", b"{"),
        ("POST /v2/models/a+b/infer", b"{"),
        ("POST /invocations", b"{"),
    ] {
        assert_eq!(coded(head.into(), body).await, (400, None), "{head}");
    }
    let failed = call(server, "POST /v1/predict HTTP/1.1\r\nPrefer: respond-async", br#"{"features":[-1,2]}"#).await;
    let place = failed.header("location").unwrap();
    assert_eq!(coded(format!("GET {place}?wait=20"), b"").await, (400, None));
    // its client says that it reads gzip and does not
    assert_eq!(coded("GET /v2/models/a+b".into(), b"").await, (200, None));
}

#[actix_rt::test]
async fn browsers_may_send_and_read_raw_tensors() {
    let mesh = serving(&["http.cors_origins=https://app.example.org"]);
    let server = mesh.serve().address;
    let origin = "Origin: https://app.example.org\r\nAccess-Control-Request-Method: POST";
    let requested = "Access-Control-Request-Headers: inference-header-content-length";
    let head = format!("OPTIONS /v2/models/a+b/infer HTTP/1.1\r\n{origin}\r\n{requested}");
    let allowed = call(server, &head, b"").await;
    assert_eq!(allowed.status, 200, "{allowed:?}");
    let answered = call(server, "GET /v2 HTTP/1.1\r\nOrigin: https://app.example.org", b"").await;
    let exposed = answered.header("access-control-expose-headers").unwrap();
    assert!(exposed.contains("inference-header-content-length"), "{exposed}");
}

#[actix_rt::test]
async fn the_only_output_has_the_name_of_the_signature() {
    let mut mesh = serving(&[]);
    mesh.answer_all();
    let server = mesh.serve().address;
    let body = json!({
        "inputs": [{ "name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1, 2] }],
        "outputs": [{ "name": "y" }],
    });
    let head = "POST /v2/models/a+b/infer HTTP/1.1";
    let answered = call(server, head, body.to_string().as_bytes()).await.json();
    assert_eq!(answered["outputs"], json!([{ "name": "y", "shape": [1], "datatype": "FP64", "data": [3.0] }]));
    let predicted = call(server, "POST /v1/predict HTTP/1.1", ROW).await.json();
    assert_eq!(predicted["prediction"], json!(3.0));
}

#[actix_rt::test]
async fn the_index_and_load_take_a_byte_order_mark() {
    let mesh = serving(&[]);
    let server = mesh.serve().address;
    for path in ["/v2/repository/index", "/v2/repository/models/c%2Fd/load"] {
        for body in ["\u{feff}{}", "\u{feff}", " ", ""] {
            let answered = call(server, &format!("POST {path} HTTP/1.1"), body.as_bytes()).await;
            assert_eq!(answered.status, 200, "{path} {body:?}: {answered:?}");
        }
    }
}

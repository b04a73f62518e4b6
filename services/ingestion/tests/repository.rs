//! Requests to load and unload models, over HTTP and gRPC: who may, and what every protocol sees of it.
#![cfg(test)]

mod mesh;

use std::time::Duration;

use forebay_contract::{LoadState, ModelView, VersionState, ViewVersion};
use forebay_ingestion::auth::ApiKey;
use mesh::{Mesh, Response, call, within};
use prost::Message;
use serde_json::json;
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

/// `RepositoryModelLoadRequest` and `RepositoryModelUnloadRequest`, as far as these tests use them.
#[derive(Clone, PartialEq, Message)]
struct Change {
    #[prost(string, tag = "2")]
    model: String,
}

#[derive(Clone, PartialEq, Message)]
struct Changed {}

struct Served {
    mesh: Mesh,
    admin: ApiKey,
    other: ApiKey,
    _folder: tempfile::TempDir,
}

/// A mesh with the default model `m` and the models `n` and `o`, an admin who may not use `o`, and a caller who is none.
fn serving(flags: &[&str]) -> Served {
    let (admin, other) = (ApiKey::generate().unwrap(), ApiKey::generate().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    let lines = format!("ann {} models=m,n,new admin=true\nbob {}\n", admin.hash(), other.hash());
    std::fs::write(&keys, lines).unwrap();
    let keys = format!("auth.keys_file={}", keys.display());
    let mut all = vec!["models.name=m", "grpc.listen=127.0.0.1:0", &keys];
    all.extend(flags);
    let mut mesh = Mesh::start(&all);
    mesh.answer_all();
    ["m", "n", "o"].iter().for_each(|model| list(&mesh, model, LoadState::Ready));
    Served { mesh, admin, other, _folder: folder }
}

/// The registry lists version 3 of a model, and a replica reports it.
fn list(mesh: &Mesh, model: &str, state: LoadState) {
    let version = ViewVersion { version: 3, stage: "Production".into(), ..ViewVersion::default() };
    mesh.directory.publish_view(ModelView { model: model.into(), versions: vec![version], ..ModelView::default() });
    report(mesh, model, state);
}

fn report(mesh: &Mesh, model: &str, state: LoadState) {
    let state = VersionState { version: 3, state: state.into(), why: "cut off".into(), ..VersionState::default() };
    mesh.directory.report(model, Some(3), vec![state]);
}

async fn change(address: std::net::SocketAddr, key: &ApiKey, path: &str, body: &str) -> Response {
    let head = format!("POST /v2/repository/{path} HTTP/1.1\r\nX-API-Key: {}", key.expose());
    call(address, &head, body.as_bytes()).await
}

fn error(response: &Response) -> String {
    assert_eq!(response.header("content-type"), Some("application/json"));
    response.json()["error"].as_str().unwrap().to_owned()
}

#[actix_rt::test]
async fn why_a_version_failed_is_an_admins_to_know() {
    let served = serving(&[]);
    report(&served.mesh, "n", LoadState::Failed);
    let address = served.mesh.serve().address;
    for (key, sees) in [(&served.admin, true), (&served.other, false)] {
        let list = call(address, &format!("GET /v1/models HTTP/1.1\r\nX-API-Key: {}", key.expose()), b"").await;
        assert!(list.body.contains(r#""state":"failed""#), "{list:?}");
        assert_eq!(list.body.contains("cut off"), sees, "{list:?}");
    }
}

#[actix_rt::test]
async fn without_the_setting_only_what_is_served_can_be_loaded() {
    let served = serving(&[]);
    let address = served.mesh.serve().address;
    let load = change(address, &served.other, "models/n/load", "{}").await;
    assert_eq!((load.status, load.body.as_str()), (200, ""));
    for (path, key) in [("models/n/unload", &served.admin), ("models/new/load", &served.admin)] {
        let refused = change(address, key, path, "").await;
        assert_eq!(refused.status, 403, "{path}");
        assert!(error(&refused).contains("repository.writable is off"), "{path}: {}", error(&refused));
    }
    assert!(served.mesh.directory.overrides().is_empty());
}

#[actix_rt::test]
async fn an_admin_unloads_and_loads_a_model_and_every_protocol_sees_it() {
    let served = serving(&["repository.writable=true"]);
    let (address, admin) = (served.mesh.serve().address, &served.admin);
    let get = |path: &'static str| {
        let head = format!("GET {path} HTTP/1.1\r\nX-API-Key: {}", admin.expose());
        async move { call(address, &head, b"").await }
    };
    let post = |path: &'static str, body: &'static str| {
        let head = format!("POST {path} HTTP/1.1\r\nX-API-Key: {}", admin.expose());
        async move { call(address, &head, body.as_bytes()).await }
    };
    let tables = [
        ("/v1/predict", r#"{"model":"n","features":[1,2]}"#),
        ("/v2/models/n/infer", r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP64","data":[1,2]}]}"#),
        ("/v1/models/n:predict", r#"{"inputs":[[1,2]]}"#),
        ("/models/n/invocations", r#"{"inputs":[[1,2]]}"#),
        ("/endpoints/n/invocations", r#"{"inputs":[[1,2]]}"#),
        ("/seldon/x/n/api/v1.0/predictions", r#"{"data":{"ndarray":[[1,2]]}}"#),
    ];
    for (path, body) in tables {
        assert_eq!(post(path, body).await.status, 200, "{path}");
    }
    let unloaded = change(address, admin, "models/n/unload", r#"{"parameters":{"unload_dependents":false}}"#).await;
    assert_eq!((unloaded.status, unloaded.body.as_str()), (200, ""));
    assert_eq!(change(address, admin, "models/n/unload", "").await.status, 200, "once more");
    for (path, body) in tables {
        let refused = post(path, body).await;
        assert_eq!((refused.status, refused.body.contains("'n' is unloaded")), (404, true), "{path}: {}", refused.body);
    }
    for path in ["/v2/models/n/ready", "/v2/models/n", "/v2/models/n/versions/3/config", "/v1/models/n"] {
        assert_eq!(get(path).await.status, 404, "{path}");
    }
    let index = change(address, admin, "index", "").await.json();
    assert_eq!(index[1], json!({ "name": "n", "version": "3", "state": "UNAVAILABLE", "reason": "unloaded" }));
    assert_eq!(change(address, admin, "index", r#"{"ready":true}"#).await.json().as_array().unwrap().len(), 1);
    let listed = get("/v1/models").await.json();
    assert_eq!(
        (&listed["models"][1]["unloaded"], &listed["models"][1]["default_version"]),
        (&json!(true), &json!(null))
    );
    assert_eq!(post("/v1/predict", r#"{"features":[1,2]}"#).await.status, 200, "others answer");

    assert_eq!(change(address, admin, "models/n/load", "").await.status, 200);
    for (path, body) in tables {
        assert_eq!(post(path, body).await.status, 200, "{path}");
    }
    assert_eq!(get("/v2/models/n/ready").await.status, 200);
}

#[actix_rt::test]
async fn nobody_else_changes_models_and_nobody_takes_the_default_one() {
    let served = serving(&["repository.writable=true"]);
    let address = served.mesh.serve().address;
    for (path, body, key, status, part) in [
        ("models/n/unload", "", &served.other, 403, "the key needs admin=true"),
        ("models/new/load", "", &served.other, 403, "the key needs admin=true"),
        ("models/m/unload", "", &served.admin, 403, "requests that name no model"),
        ("models/o/unload", "", &served.admin, 403, "not allowed to use model"),
        ("models/o/load", "", &served.admin, 403, "not allowed to use model"),
        ("models/new/unload", "", &served.admin, 404, "Request for unknown model"),
        ("models/n/load", r#"{"parameters":{"config":"{}"}}"#, &served.admin, 400, "parameter 'config'"),
        ("models/n/unload", "{", &served.admin, 400, "failed to parse"),
    ] {
        let refused = change(address, key, path, body).await;
        assert_eq!(refused.status, status, "{path}: {}", refused.body);
        assert!(error(&refused).contains(part), "{path}: {}", error(&refused));
    }
    let head = "POST /v2/repository/models/n/unload HTTP/1.1";
    assert_eq!(call(address, head, b"").await.status, 401);
    assert!(served.mesh.directory.overrides().is_empty());
}

#[actix_rt::test]
async fn load_waits_until_every_replica_has_the_model_or_none_can_load_it() {
    let served = serving(&["repository.writable=true"]);
    let address = served.mesh.serve().address;
    let head = format!("POST /v2/repository/models/new/load HTTP/1.1\r\nX-API-Key: {}", served.admin.expose());
    let loading = actix_rt::spawn(async move { call(address, &head, b"").await });
    let requested = || served.mesh.directory.overrides().get("new") == Some(&true);
    mesh::until("the request", async || requested()).await;
    list(&served.mesh, "new", LoadState::Loading);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!loading.is_finished());
    report(&served.mesh, "new", LoadState::Ready);
    assert_eq!(within(loading).await.unwrap().status, 200);

    assert_eq!(change(address, &served.admin, "models/n/unload", "").await.status, 200);
    report(&served.mesh, "n", LoadState::Failed);
    let failed = change(address, &served.admin, "models/n/load", "").await;
    assert_eq!((failed.status, error(&failed).as_str()), (503, "failed to load 'n': cut off"));
}

#[actix_rt::test]
async fn the_same_calls_work_over_grpc() {
    let served = serving(&["repository.writable=true"]);
    let grpc = served.mesh.serve_grpc();
    let channel = within(Endpoint::from_shared(format!("http://{}", grpc.address)).unwrap().connect()).await.unwrap();
    let change = |name: &'static str, key: &ApiKey, model: &str| {
        let mut request = Request::new(Change { model: model.to_owned() });
        request.metadata_mut().insert("x-api-key", key.expose().parse().unwrap());
        let mut client = Grpc::new(channel.clone());
        async move {
            client.ready().await.unwrap();
            let path = format!("/inference.GRPCInferenceService/RepositoryModel{name}").parse().unwrap();
            let done: Result<_, Status> =
                within(client.unary(request, path, ProstCodec::<Change, Changed>::default())).await;
            done.map(|_| ())
        }
    };
    change("Load", &served.other, "n").await.unwrap();
    for (name, key, model) in [
        ("Unload", &served.other, "n"),
        ("Unload", &served.admin, "m"),
        ("Unload", &served.admin, "o"),
        ("Load", &served.other, "new"),
    ] {
        let status = change(name, key, model).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{name} {model}: {status:?}");
        assert!(!status.message().is_empty());
    }
    change("Unload", &served.admin, "n").await.unwrap();
    assert!(served.mesh.directory.is_unloaded("n"));
    change("Load", &served.admin, "n").await.unwrap();
    assert!(!served.mesh.directory.is_unloaded("n"));
}

//! Answers that are broken, too large, too slow, or lead elsewhere: a clear error in bounded time and memory.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::bench::*;
use forebay_registry::{Body, MlflowClient, OnProgress, RegistryError, RegistryOptions, Verb};
use forebay_runtime::Lifecycle;
use serde_json::json;

#[test]
fn answers_that_are_none() {
    let fake = Fake::start();
    fake.register(MODEL, 1, &linear());
    for (fault, expected) in [
        (Fault::Body(b"<!doctype html><title>Sign in".to_vec()), "starts with \"<!doctype html"),
        (Fault::Body(Vec::new()), "not an answer of MLflow"),
        (Fault::Body(b"{\"registered_model\": {\"name\": 3}}".to_vec()), "not an answer of MLflow"),
        (Fault::Body(vec![b'['; 1 << 20]), "not an answer of MLflow"),
        (Fault::Endless, "larger than"),
        (Fault::Status(404, "<html>not found"), "status 404: <html>not found"),
        (Fault::Status(418, "short\nand\u{1b}[31mstout"), "status 418: short and [31mstout"),
    ] {
        fake.fault("registered-models/get", 1, fault.clone());
        let opened = forebay_registry::Registry::open_with(&options(&fake));
        let error = match opened {
            // a page that says 404 is a model that is not there
            Ok(registry) => {
                assert!(registry.models().is_empty() && matches!(fault, Fault::Status(404, _)), "{fault:?}");
                continue;
            }
            Err(error) => error.to_string(),
        };
        assert!(error.contains(expected) && error.contains("/registered-models/get?name="), "{error}");
        assert!(error.len() < 700 && !error.contains('\u{1b}'), "{error}");
    }
}

#[test]
fn a_call_that_fails_for_a_moment_is_retried() {
    let fake = Fake::start();
    fake.register(MODEL, 1, &linear());
    for fault in [Fault::Status(500, "oops"), Fault::Status(429, "slow down"), Fault::Status(503, "")] {
        fake.content().seen.clear();
        fake.fault("model-versions/search", 2, fault);
        open(&options(&fake));
        assert_eq!(fake.calls("model-versions/search"), 3);
    }
    fake.fault(
        "model-versions/search",
        100,
        Fault::Status(503, "{\"error_code\":\"TEMPORARILY_UNAVAILABLE\",\"message\":\"m\"}"),
    );
    let error = refused(&options(&fake));
    assert!(error.is_unreachable() && error.to_string().contains("status 503: m"), "{error}");
}

#[test]
fn a_silent_server_costs_the_timeout() {
    let fake = Fake::start();
    fake.register(MODEL, 1, &linear());
    for fault in [Fault::Silence, Fault::Truncated] {
        fake.fault("registered-models/get", 1, fault);
        let started = Instant::now();
        let error = refused(&RegistryOptions { timeout: Duration::from_millis(300), ..options(&fake) });
        assert!(error.is_unreachable() && error.to_string().contains("timeout"), "{error}");
        assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
    }
}

#[test]
fn a_slow_server_is_no_stall_and_a_silent_one_is() {
    const BOUND: Duration = Duration::from_millis(800);
    let lifecycle = Lifecycle::new();
    lifecycle.watch_stalls(BOUND).unwrap();
    let call = |pause: Duration| {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let location = format!("http://{}", server.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut connection, _) = server.accept().unwrap();
            let _ = connection.read(&mut [0; 4096]).unwrap();
            connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n").unwrap();
            for byte in b"\"123456789012345678\"" {
                std::thread::sleep(pause);
                // the caller may have given up
                let _ = connection.write_all(&[*byte]);
            }
        });
        let heartbeat = lifecycle.heartbeat("registry");
        let on_progress = OnProgress::new(move || heartbeat.beat());
        let options = RegistryOptions { on_progress, timeout: BOUND * 10, ..RegistryOptions::new(location) };
        std::thread::spawn(move || MlflowClient::new(&options).unwrap().send(Verb::Get, "/", Body::None))
    };
    let slow = call(BOUND / 8);
    while !slow.is_finished() {
        assert!(lifecycle.is_alive(), "parts of a response are signs of life");
        std::thread::sleep(BOUND / 100);
    }
    assert_eq!(slow.join().unwrap().unwrap(), "123456789012345678");
    let silent = call(BOUND * 3);
    while lifecycle.is_alive() {
        assert!(!silent.is_finished(), "the stall is not seen");
        std::thread::sleep(BOUND / 100);
    }
    assert_eq!(lifecycle.stalled(), ["registry"]);
}

#[test]
fn a_post_is_sent_once() {
    let fake = Fake::start();
    let client = MlflowClient::new(&options(&fake)).unwrap();
    fake.fault("runs/create", 100, Fault::Status(503, "busy"));
    assert!(client.send(Verb::Post, "/api/2.0/mlflow/runs/create", Body::Json(&json!({}))).is_err());
    assert_eq!(fake.calls("runs/create"), 1, "it may have been done");
    let echo = client.send(Verb::Post, "/api/2.0/mlflow/runs/log-batch", Body::Json(&json!({ "run_id": 1 }))).unwrap();
    assert_eq!((echo["echo"].as_str(), echo["method"].as_str()), (Some("{\"run_id\":1}"), Some("POST")));
    fake.fault("artifacts/1/x", 1, Fault::Status(503, "busy"));
    let put = client.send(Verb::Put, "/api/2.0/mlflow-artifacts/artifacts/1/x", Body::Bytes(b"bytes")).unwrap();
    assert_eq!((put["echo"].as_str(), fake.calls("artifacts/1/x")), (Some("bytes"), 2));
}

#[test]
fn paths_that_lead_elsewhere() {
    let fake = Fake::start();
    let error_of = |version: u32| open(&options(&fake)).load(MODEL, version, open_model).unwrap_err();
    for (number, uri) in
        (1..).zip(["mlflow-artifacts:/1/../../secret", "runs:/../x", "mlflow-artifacts:/a//b", "models:/m-1/../x"])
    {
        fake.version(MODEL, number, Version::new(uri, "x"));
        let error = error_of(number);
        assert!(matches!(error, RegistryError::Uri { .. }), "{uri}: {error}");
    }
    fake.register(MODEL, 8, &[("MLmodel", b"flavors: {sklearn: {pickled_model: ../../etc/passwd}}".to_vec())]);
    assert!(error_of(8).to_string().contains("inside"), "{}", error_of(8));
    fake.register(MODEL, 9, &linear());
    for name in ["..", "../x", "a\\..\\b", "a\u{0}b", ""] {
        let files = json!({ "files": [{ "path": name, "is_dir": false, "file_size": 3 }] }).to_string();
        fake.fault("artifacts?path=", 1, Fault::Body(files.into_bytes()));
        let error = error_of(9);
        assert!(
            matches!(error, RegistryError::Uri { .. } | RegistryError::Artefact { .. } | RegistryError::Refused { .. }),
            "{error}"
        );
    }
    assert!(fake.content().seen.iter().all(|url| !url.contains("..")), "no such path was requested");
}

#[test]
fn versions_that_are_too_large() {
    let fake = Fake::start();
    let error_of = |number| open(&options(&fake)).load(MODEL, number, open_model).unwrap_err().to_string();
    fake.register(MODEL, 1, &linear());
    let huge = json!({ "files": [{ "path": "model.pkl", "is_dir": false, "file_size": "99999999999" }] }).to_string();
    fake.fault("artifacts?path=", 1, Fault::Body(huge.into_bytes()));
    assert!(error_of(1).contains("model.pkl is larger than"), "{}", error_of(1));
    let names: Vec<String> = (0..300).map(|i| format!("file{i}")).collect();
    let many: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (name.as_str(), vec![0])).collect();
    fake.register(MODEL, 2, &many);
    assert!(error_of(2).contains("more than 200 files"));
    let deep = json!({ "files": [{ "path": "again", "is_dir": true }] }).to_string();
    fake.register(MODEL, 3, &linear());
    fake.content().seen.clear();
    fake.fault("artifacts?path=", 1000, Fault::Body(deep.into_bytes()));
    assert!(error_of(3).contains("MLmodel"));
    assert!(fake.calls("artifacts?path=") < 10, "folders in folders without end");
}

#[test]
fn one_broken_model_does_not_hide_the_others() {
    let fake = Fake::start();
    for name in ["a", MODEL] {
        fake.register(name, 1, &linear());
    }
    let all = RegistryOptions { models: None, ..options(&fake) };
    let registry = open(&all);
    fake.register(MODEL, 2, &lasso());
    fake.fault("registered-models/get?name=a", 100, Fault::Status(400, "{\"error_code\":\"INVALID_PARAMETER_VALUE\"}"));
    registry.refresh().unwrap();
    assert_eq!(registry.model("a").unwrap().versions.len(), 1, "it keeps its listing");
    assert_eq!(registry.model(MODEL).unwrap().versions.len(), 2);
    fake.fault("mlflow-artifacts/artifacts/1/models", 1, Fault::Status(404, ""));
    fake.register(MODEL, 3, &lasso());
    registry.refresh().unwrap();
    assert_eq!(registry.model(MODEL).unwrap().version(3).unwrap().flavor, "unknown");
    registry.refresh().unwrap();
    assert_eq!(registry.model(MODEL).unwrap().version(3).unwrap().flavor, "sklearn", "found at the next look");
}

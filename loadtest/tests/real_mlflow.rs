//! A real MLflow server, filled by Python (`loadtest/suites/mlflow_fill.py`, `mlflow_models.py`) and served by the five
//! binaries: the same numbers, moved aliases, a broken version, the server killed under load, starts while it is down, and basic
//! authentication.
#![cfg(feature = "real-services")]
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test ends at the first step that fails, and reads as one sequence"
)]

mod harness;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use harness::load::{HttpLoad, KafkaLoad};
use harness::topic::{Out, Reader, Writer};
use harness::{Mesh, ROW, ROW_V1, Service, http, native, native_with, stop_all, variable, wait_until};

const MODEL: &str = "diabetes-rf-model";
const RATE: f64 = 100.0;
/// Polling every second, loading, and the gate.
const FOLLOWED: Duration = Duration::from_secs(30);

fn mlflow() -> SocketAddr {
    variable("REAL_MLFLOW").parse().unwrap()
}

/// A mesh that reads from the server, with a cache of its own.
fn mesh(name: &str) -> Mesh {
    let mut mesh = Mesh::with_topics(name);
    mesh.set("MLFLOW_TRACKING_URI", format!("http://{}", mlflow()));
    mesh.set("FOREBAY__MODELS__REFRESH", "1s");
    mesh.set("FOREBAY__MODELS__TIMEOUT", "5s");
    mesh.set("FOREBAY__MODELS__CACHE_DIR", mesh.folder().join("cache").display().to_string());
    mesh
}

#[track_caller]
fn api(method: &str, path: &str, body: &Value) -> Value {
    let path = format!("/api/2.0/mlflow/{path}");
    let reply =
        http::request(mlflow(), method, &path, &[("content-type", "application/json")], body.to_string()).unwrap();
    assert_eq!(reply.status, 200, "{method} {path}: {}", reply.text());
    reply.json()
}

#[track_caller]
fn set_champion(version: u32) {
    let body = json!({ "name": MODEL, "alias": "champion", "version": version.to_string() });
    api("POST", "registered-models/alias", &body);
}

fn predict(address: SocketAddr, row: &Value, version: Option<&str>) -> Value {
    let mut body = json!({ "features": row });
    if let Some(version) = version {
        body["model_version"] = version.into();
    }
    http::predict(address, &[], body.to_string()).unwrap().json()
}

/// A row that no request has had before.
fn fresh() -> Value {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(7_000_000);
    serde_json::from_str(&harness::row(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed))).unwrap()
}

/// Waits until who names no version is answered by `version`; how long that took.
#[track_caller]
fn wait_for_version(address: SocketAddr, version: &str) -> Duration {
    let started = Instant::now();
    wait_until(FOLLOWED, &format!("{version} to answer"), || {
        let answer = predict(address, &fresh(), None);
        answer["model_version"] == version && answer.get("fallback_from").is_none_or(Value::is_null)
    });
    started.elapsed()
}

/// Sends requests for `time`; every answer has to be of `version`.
#[track_caller]
fn stays_with(address: SocketAddr, version: &str, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        let answer = predict(address, &fresh(), None);
        assert_eq!(answer["model_version"], version, "{answer}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn start_all(mesh: &Mesh) -> Vec<Service> {
    let mut services = mesh.start_all();
    // numbers of every version are compared, so all of them have to be there
    wait_until(FOLLOWED, "the versions to be loaded", || services[3].output().matches("version loaded").count() >= 4);
    services[0].wait_ready();
    services
}

#[test]
fn unity_catalog_is_read_as_mlflow_reads_it() {
    // from a small server that answers as a Databricks workspace does; both read from it
    let forebay = harness::binary("forebay").display().to_string();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/unity_catalog_cases.py").display().to_string();
    native(&["python", &cases, &forebay]);
}

#[test]
fn every_version_answers_what_python_predicted() {
    set_champion(1);
    let mesh = mesh("mlflow-numbers");
    let services = start_all(&mesh);
    let filled: Value = serde_json::from_slice(&std::fs::read(variable("REAL_MLFLOW_FILLED")).unwrap()).unwrap();
    let rows = filled["rows"].as_array().unwrap();
    for (version, expected) in filled["versions"].as_object().unwrap() {
        let label = format!("v{version}");
        for (row, expected_value) in rows.iter().zip(expected["predict"].as_array().unwrap()) {
            let answer = predict(services[0].http, row, Some(&label));
            let (got, want) = (answer["prediction"].as_f64(), expected_value.as_f64().unwrap());
            let got = got.unwrap_or_else(|| panic!("{label}: {answer}"));
            assert_eq!(answer["model_version"], label.as_str(), "{answer}");
            if expected["exact"] == true {
                assert_eq!(got.to_bits(), want.to_bits(), "{label} ({}): {got} {want}", expected["kind"]);
            } else {
                assert!((got - want).abs() <= 2e-6 * want.abs(), "{label} ({}): {got} {want}", expected["kind"]);
            }
        }
        println!("{label} ({}): {} rows equal", expected["kind"], rows.len());
    }
    let stage = predict(services[0].http, &rows[0], Some("Staging"));
    assert_eq!(stage["model_version"], "v2", "{stage}");
    let broken = predict(services[0].http, &fresh(), Some("v4"));
    assert_eq!((&broken["model_version"], &broken["fallback_from"]), (&json!("v1"), &json!("v4")), "{broken}");
    stop_all(services);
}

/// Whether an answer is what Python has answered: equal labels and integers, numbers within 1e-9.
fn alike(got: &Value, want: &Value) -> bool {
    match (got, want) {
        (Value::Array(got), Value::Array(want)) => {
            got.len() == want.len() && got.iter().zip(want).all(|(got, want)| alike(got, want))
        }
        (Value::Number(got), Value::Number(want)) => {
            let (got, want) = (got.as_f64().unwrap(), want.as_f64().unwrap());
            (got - want).abs() <= 1e-12 + 1e-9 * want.abs()
        }
        _ => got == want,
    }
}

#[test]
fn twenty_models_of_boosters_text_and_tables_answer_over_kafka_as_mlflow_does() {
    let mut mesh = mesh("mlflow-models");
    let filled = mesh.folder().join("models.json").display().to_string();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/mlflow_models.py").display().to_string();
    native_with(&["python", &program, &filled], &[("MLFLOW_TRACKING_URI", &format!("http://{}", mlflow()))]);
    let filled: Value = serde_json::from_slice(&std::fs::read(filled).unwrap()).unwrap();
    let (rows, models) = (filled["rows"].as_array().unwrap(), filled["models"].as_object().unwrap());
    assert!(models.len() >= 20, "{} models", models.len());
    mesh.set("FOREBAY__MODELS__NAME", "everything");
    mesh.set("FOREBAY__MODELS__SERVE", serde_json::to_string(&models.keys().collect::<Vec<_>>()).unwrap());
    let mut services = mesh.start_all();
    let loaded = || services[3].output().matches("version loaded").count();
    wait_until(FOLLOWED * 2, "the models to be loaded", || loaded() >= models.len());
    services[0].wait_ready();
    let (input, writer, results) =
        (mesh.topic("requests_in"), Writer::new(), Reader::from_now(&mesh.topic("results_out")));
    let requests = models.keys().flat_map(|name| (0..rows.len()).map(move |row| (name, row)));
    for (number, (name, row)) in requests.enumerate() {
        let request = json!({ "request_id": format!("{name}/{row}"), "model": name, "features": rows[row] });
        let payload = request.to_string();
        writer.hand_over(Out { topic: &input, payload: payload.as_bytes(), ..Out::default() }, number as u64);
    }
    writer.flush();
    for _ in 0..models.len() * rows.len() {
        let answer = results.poll(FOLLOWED).expect("a result").json();
        let (name, row) = answer["request_id"].as_str().unwrap().split_once('/').unwrap();
        let want = &models[name]["predict"][row.parse::<usize>().unwrap()];
        assert!(alike(&answer["prediction"], want), "{answer} of {name} where MLflow has {want}");
    }
    stop_all(services);
}

#[test]
fn a_moved_alias_is_followed_under_load_and_a_broken_version_is_not() {
    set_champion(1);
    let mesh = mesh("mlflow-alias");
    let services = start_all(&mesh);
    let address = services[0].http;
    wait_for_version(address, "v1");
    let load = KafkaLoad::start(&mesh, RATE, 0.2);
    let callers = HttpLoad::start(vec![address], 3, Duration::from_millis(40));
    std::thread::sleep(Duration::from_secs(2));
    set_champion(2);
    println!("alias moved to v2, followed after {:.1?}", wait_for_version(address, "v2"));
    set_champion(4);
    stays_with(address, "v2", Duration::from_secs(8));
    println!("v4 cannot be loaded: v2 stays in use");
    set_champion(3);
    println!("alias moved to v3, followed after {:.1?}", wait_for_version(address, "v3"));
    std::thread::sleep(Duration::from_secs(1));
    let called = callers.finish();
    let findings = load.judge(Duration::from_secs(30), Duration::from_secs(2));
    assert!(findings.clean(), "{findings}");
    assert!(called.wrong.is_empty(), "{} of {} callers: {:#?}", called.wrong.len(), called.answered, called.wrong);
    println!("{} HTTP calls answered, the slowest in {:?}", called.answered, called.slowest);
    stop_all(services);
}

#[test]
fn a_killed_server_costs_no_request_and_starts_go_on_from_the_cache() {
    set_champion(1);
    let mesh = mesh("mlflow-killed");
    let mut services = start_all(&mesh);
    let address = services[0].http;
    wait_for_version(address, "v1");
    let load = KafkaLoad::start(&mesh, RATE, 0.2);
    let callers = HttpLoad::start(vec![address], 3, Duration::from_millis(40));
    std::thread::sleep(Duration::from_secs(1));
    native(&["kill", "mlflow"]);
    stays_with(address, "v1", Duration::from_secs(6));
    for (stage, name) in [(1, "preprocessing"), (3, "prediction")] {
        services[stage].stop();
        services[stage] = mesh.start(name);
        println!("{name}: started without the registry, ready after {:.1?}", services[stage].wait_ready());
        assert!(services[stage].output().contains("using its last listing"), "{}", services[stage].tail(20));
    }
    stays_with(address, "v1", Duration::from_secs(3));
    let pinned = predict(address, &fresh(), Some("v2"));
    assert_eq!(pinned["model_version"], "v2", "{pinned}");
    for stage in [1, 3] {
        let output = services[stage].output();
        assert_eq!(output.matches("using its last listing").count(), 1, "an outage is logged once");
    }
    native(&["up", "mlflow"]);
    set_champion(2);
    println!("the server is back, alias moved to v2, followed after {:.1?}", wait_for_version(address, "v2"));
    let called = callers.finish();
    let findings = load.judge(Duration::from_secs(30), Duration::from_secs(2));
    assert!(findings.clean(), "{findings}");
    assert!(called.wrong.is_empty(), "{} of {} callers: {:#?}", called.wrong.len(), called.answered, called.wrong);
    for stage in [1, 3] {
        assert!(services[stage].output().contains("model registry responds again"));
    }
    stop_all(services);
}

#[test]
fn a_signed_webhook_is_quicker_than_polling() {
    set_champion(1);
    let mut mesh = mesh("mlflow-webhook");
    mesh.set("FOREBAY__MODELS__REFRESH", "1h");
    mesh.set("FOREBAY__MODELS__WEBHOOK_SECRET", "shared with the server");
    let services = start_all(&mesh);
    wait_for_version(services[0].http, "v1");
    let hook = json!({
        "name": "forebay", "url": format!("http://{}/webhooks/mlflow", services[3].admin), "secret": "shared with the server",
        "events": [{ "entity": "MODEL_VERSION_ALIAS", "action": "CREATED" }],
    });
    let id = api("POST", "webhooks", &hook)["webhook"]["webhook_id"].as_str().unwrap().to_owned();
    // MLflow remembers for a second (MLFLOW_WEBHOOK_CACHE_TTL) that the alias set above had no webhook to tell
    std::thread::sleep(Duration::from_millis(1500));
    set_champion(2);
    let took = wait_for_version(services[0].http, "v2");
    println!("alias moved to v2, reported to one replica of prediction, followed by all after {took:.1?}");
    api("DELETE", &format!("webhooks/{id}"), &json!({}));
    stop_all(services);
}

/// Registers the sample's first version on a server with authentication.
fn register(server: SocketAddr, authorization: &str) {
    let headers = [("authorization", authorization), ("content-type", "application/json")];
    let post = |path: &str, body: Value| {
        let path = format!("/api/2.0/mlflow/{path}");
        let reply = http::request(server, "POST", &path, &headers, body.to_string()).unwrap();
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.json()
    };
    let run = post("runs/create", json!({ "experiment_id": "0" }))["run"]["info"].clone();
    let root = run["artifact_uri"].as_str().unwrap().strip_prefix("mlflow-artifacts:/").unwrap().to_owned();
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/model/sample").join(MODEL).join("1");
    for file in ["MLmodel", "model.skops", "input_example.json"] {
        let path = format!("/api/2.0/mlflow-artifacts/artifacts/{root}/model/{file}");
        let headers = [("authorization", authorization)];
        let bytes = std::fs::read(sample.join(file)).unwrap();
        let reply = http::request(server, "PUT", &path, &headers, bytes).unwrap();
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    }
    post("registered-models/create", json!({ "name": MODEL }));
    let source = format!("runs:/{}/model", run["run_id"].as_str().unwrap());
    post("model-versions/create", json!({ "name": MODEL, "source": source, "run_id": run["run_id"] }));
}

#[test]
fn basic_authentication_right_and_wrong() {
    let server: SocketAddr = variable("REAL_MLFLOW_AUTH").parse().unwrap();
    let password = variable("REAL_MLFLOW_PASSWORD");
    register(server, &variable("REAL_MLFLOW_AUTHORIZATION"));
    let mut mesh = Mesh::unset("mlflow-auth");
    mesh.set("MLFLOW_TRACKING_URI", format!("http://{server}"));
    mesh.set("FOREBAY__MODELS__CACHE_DIR", "off");
    let list = |more: &[(&str, &str)]| {
        let output = mesh.run("forebay", &["models", "list"], more);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let right = [("MLFLOW_TRACKING_USERNAME", "admin"), ("MLFLOW_TRACKING_PASSWORD", password.as_str())];
    let (code, text) = list(&right);
    assert!(code == Some(0) && text.contains("v1"), "{text}");
    let wrong = [("MLFLOW_TRACKING_USERNAME", "admin"), ("MLFLOW_TRACKING_PASSWORD", "not-the-password")];
    for credentials in [&wrong[..], &[]] {
        let (code, text) = list(credentials);
        assert!(code == Some(1) && text.contains("status 401"), "{text}");
        assert!(!text.contains("not-the-password"), "{text}");
    }
    let mut up = mesh.launch("forebay", &["up"], &right);
    // this server hashes the password at every call
    up.wait_ready_within(Duration::from_secs(60));
    let answer = predict(up.http, &serde_json::from_str(ROW).unwrap(), None);
    assert_eq!(answer["prediction"].as_f64(), Some(ROW_V1), "{answer}");
    up.stop();
    let mut refused = mesh.launch("forebay", &["up"], &wrong);
    wait_until(Duration::from_secs(60), "the refusal in the log", || refused.output().contains("status 401"));
    assert!(!refused.is_ready(), "{:?}", refused.health());
    refused.stop();
}

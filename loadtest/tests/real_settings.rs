//! Settings as the binaries take them: problems all at once, taken ports, secrets, and the legacy variables.
#![cfg(feature = "real-services")]
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test ends at the first step that fails, and reads as one sequence"
)]

mod harness;

use std::net::TcpListener;
use std::process::Output;
use std::time::Duration;

use harness::{Mesh, ROW, ROW_V3, STAGES, assert_close, brokers, http, stop_all};

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// Every binary that has settings, with the arguments that make it run.
fn binaries() -> Vec<(String, Vec<&'static str>)> {
    let services = STAGES.iter().map(|stage| (format!("forebay-{stage}"), vec![]));
    services.chain([("forebay".to_owned(), vec!["up"])]).collect()
}

#[test]
fn wrong_settings_are_listed_all_at_once() {
    let mesh = Mesh::unset("wrong");
    let file = mesh.folder().join("settings.toml");
    std::fs::write(&file, "[kafka]\npartitions = 4\nbroker = \"x:1\"\n\n[delivery]\ndrain = \"soon\"\n").unwrap();
    for (name, arguments) in binaries() {
        let mut arguments = arguments.clone();
        let path = file.to_string_lossy().into_owned();
        arguments.extend(["--config", &path, "--set", "admin.listen=nowhere", "--set", "loose"]);
        let wrong = [("FOREBAY__KAFKA__PARTITIONS", "many"), ("FOREBAY__LOG__FORMAT", "poetry")];
        let output = mesh.run(&name, &arguments, &wrong);
        let (_, logged) = texts(&output);
        assert_eq!(output.status.code(), Some(2), "{name}: {logged}");
        for part in [
            "kafka.partitions",
            "FOREBAY__KAFKA__PARTITIONS",
            "kafka.broker",
            "brokers",
            "settings.toml:3",
            "delivery.drain",
            "settings.toml:6",
            "admin.listen",
            "loose",
            "log.format",
        ] {
            assert!(logged.contains(part), "{name} does not name {part}: {logged}");
        }
        let check = ["config", "check"];
        let output = mesh.run(&name, &check, &wrong);
        assert_eq!(output.status.code(), Some(2), "{name} config check: {:?}", texts(&output));
        let output = mesh.run(&name, &check, &[]);
        assert_eq!(output.status.code(), Some(0), "{name} config check: {:?}", texts(&output));
    }
    // settings of its own, checked by each service
    for (stage, variable, value, key) in [
        ("ingestion", "FOREBAY__HTTP__LISTEN", "everywhere", "http.listen"),
        ("preprocessing", "FOREBAY__PREPROCESSING__MISSING", "guess", "preprocessing.missing"),
        ("caching", "FOREBAY__CACHE__POLICY", "disk", "cache.policy"),
        ("prediction", "FOREBAY__PREDICTION__BATCH", "0", "prediction.batch"),
        ("publishing", "FOREBAY__RESULTS__ERRORS", "perhaps", "results.errors"),
    ] {
        for name in [format!("forebay-{stage}"), "forebay".to_owned()] {
            let output = mesh.run(&name, &["config", "check"], &[(variable, value)]);
            let (_, logged) = texts(&output);
            assert_eq!(output.status.code(), Some(2), "{name}: {logged}");
            assert!(logged.contains(key) && logged.contains(variable), "{name}: {logged}");
        }
    }
}

#[test]
fn a_taken_port_names_its_setting() {
    let mesh = Mesh::named("port");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut cases: Vec<(String, Vec<&str>, &str, &str)> = Vec::new();
    for (name, arguments) in binaries() {
        cases.push((name.clone(), arguments.clone(), "FOREBAY__ADMIN__LISTEN", "admin.listen"));
        if name == "forebay" || name == "forebay-ingestion" {
            cases.push((name, arguments, "FOREBAY__HTTP__LISTEN", "http.listen"));
        }
    }
    for (name, arguments, variable, key) in cases {
        let mut service = mesh.launch(&name, &arguments, &[(variable, &address)]);
        let code = service.wait_exit(Duration::from_secs(15));
        let logged = service.output();
        assert_eq!(code, Some(2), "{name} with {variable}: {logged}");
        assert!(logged.contains(key) && logged.contains(&address) && logged.contains(variable), "{name}: {logged}");
    }
}

#[test]
fn secrets_are_masked_wherever_they_come_from() {
    let mesh = Mesh::unset("secrets");
    let file = mesh.folder().join("secret");
    std::fs::write(&file, "hunter3\n").unwrap();
    let environment = [
        ("FOREBAY__REDIS__URL", "redis://:hunter2@cache:6379"),
        ("FOREBAY__KAFKA__OPTIONS__SASL_PASSWORD", "hunter2"),
        ("FOREBAY__KAFKA__BROKERS_FILE", file.to_str().unwrap()),
        ("EVENTHUB_CONNECTION", "Endpoint=sb://x;SharedAccessKeyName=n;SharedAccessKey=hunter2"),
    ];
    for (name, _) in binaries() {
        let output = mesh.run(&name, &["config", "show"], &environment);
        let (shown, logged) = texts(&output);
        assert_eq!(output.status.code(), Some(0), "{name}: {logged}");
        assert!(!shown.contains("hunter"), "{name} shows a secret: {shown}");
        assert!(shown.contains("brokers") && shown.contains("FOREBAY__KAFKA__BROKERS_FILE"), "{name}: {shown}");
        if name != "forebay-ingestion" && (name == "forebay" || name == "forebay-caching") {
            assert!(shown.contains("cache:6379"), "{name}: the rest of the address is no secret: {shown}");
        }
        let output = mesh.run(&name, &["config", "check", "--set", "kafka.partitions=no"], &environment);
        let (shown, logged) = texts(&output);
        assert!(!shown.contains("hunter") && !logged.contains("hunter"), "{name}: {shown}{logged}");
    }
}

#[test]
fn the_legacy_variables_work() {
    let mut mesh = Mesh::unset("legacy-shown");
    for (name, value) in [
        ("KAFKA_BROKER", "old-kafka:9092"),
        ("CONSUMER_GROUP", "inference-consumer"),
        ("REDIS_HOST", "redis-master.mlflow"),
        ("MODEL_NAME", "diabetes-rf-model"),
        ("MODEL_STAGE", "Production"),
        ("MLFLOW_TRACKING_URI", "http://mlflow:5000"),
        ("USE_EVENTHUB", "false"),
    ] {
        mesh.set(name, value);
    }
    let (shown, _) = texts(&mesh.run("forebay", &["config", "show"], &[]));
    for part in [
        "old-kafka:9092",
        "inference-consumer",
        "redis://redis-master.mlflow:6379",
        "http://mlflow:5000",
        "KAFKA_BROKER",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let newer = [("FOREBAY__KAFKA__BROKERS", "new-kafka:9092")];
    let output = mesh.run("forebay-caching", &["config", "check"], &newer);
    let (shown, logged) = texts(&output);
    assert!((shown.clone() + &logged).contains("KAFKA_BROKER"), "a variable that is ignored is said: {shown}{logged}");

    // and a mesh that knows its broker and its model by them alone
    let mut mesh = Mesh::with_topics("legacy");
    mesh.unset_one("FOREBAY__KAFKA__BROKERS");
    mesh.set("KAFKA_BROKER", brokers());
    mesh.set("MODEL_NAME", "diabetes-rf-model");
    mesh.set("MODEL_STAGE", "Production");
    let services = mesh.start_all();
    let reply = http::predict(services[0].http, &[], format!(r#"{{"features":{ROW}}}"#)).unwrap();
    assert_close(&reply.json()["prediction"], ROW_V3, 1e-4);
    stop_all(services);
}

//! The official clients of other model servers, unmodified, against `forebay up` and against the five binaries over Kafka.
//! `REAL_CLIENTS_PYTHON` is a Python with `clients_requirements.txt`.
#![cfg(feature = "real-services")]
#![allow(clippy::unwrap_used, reason = "a test ends at the first step that fails, and reads as one sequence")]

mod harness;

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use harness::{Mesh, STAGES, Service, binary, free_address, native_with, redis, stop_all, variable, wait_all};

/// A program of `suites/`, with its arguments.
fn suite(python: &mut Command, name: &str, arguments: &[&str]) {
    python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("suites").join(name)).args(arguments);
}

/// Runs cases of `clients_cases.py`, all of them or those of one class; how many ran.
#[track_caller]
fn cases(server: &Service, url: &str, grpc: SocketAddr, class: Option<&str>, more: &[(&str, &str)]) -> usize {
    let mut python = Command::new("timeout");
    python.args(["240", &variable("REAL_CLIENTS_PYTHON")]);
    let grpc = if class == Some("GrpcOverTls") { format!("localhost:{}", grpc.port()) } else { grpc.to_string() };
    let arguments: Vec<&str> = [url, &grpc].into_iter().chain(class).collect();
    suite(&mut python, "clients_cases.py", &arguments);
    let output = python.envs(more.iter().copied()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    println!("{text}");
    let failed: Vec<&str> = text.lines().filter(|line| is_failure(line)).collect();
    assert!(output.status.success(), "{}: {}\n{}", output.status, failed.join(" | "), server.tail(20));
    assert!(!text.contains("skipped"), "a case was left out");
    let counts = text.lines().filter_map(|line| line.strip_prefix("Ran ")?.split(' ').next()?.parse::<usize>().ok());
    counts.sum()
}

/// Whether a line of Python's unittest names a failed case, or says why it has failed.
fn is_failure(line: &str) -> bool {
    let error = |it: &&str| it.ends_with("Error") || it.ends_with("Exception") || it.ends_with("Timeout");
    line.starts_with("FAIL: ") || line.starts_with("ERROR: ") || line.split(':').next().filter(error).is_some()
}

/// `forebay-loadtest conformance` finds nothing wrong.
#[track_caller]
fn conforms(mesh: &Mesh, url: &str) {
    let output = mesh.run("forebay-loadtest", &["conformance", url], &[]);
    let table = String::from_utf8_lossy(&output.stdout);
    println!("{table}");
    assert!(output.status.success() && table.contains("42 of 42 passed"), "{output:?}");
}

#[test]
fn official_clients_work_unmodified() {
    let mesh = Mesh::unset("clients");
    let grpc = free_address();
    let mut up = mesh.launch("forebay", &["up"], &[("FOREBAY__GRPC__LISTEN", &grpc.to_string())]);
    up.wait_ready();
    let url = format!("http://{}", up.http);
    assert!(cases(&up, &url, grpc, None, &[]) >= 30, "some tests were not run");
    conforms(&mesh, &url);
    up.stop();
}

#[test]
fn official_clients_work_with_the_five_binaries_over_kafka() {
    let mut mesh = Mesh::with_topics("clients");
    mesh.set("FOREBAY__ASYNC__STORE", "redis");
    mesh.set("FOREBAY__REDIS__URL", format!("redis://{}", redis()));
    let grpc = free_address();
    let own = |stage: &&str| match *stage {
        "ingestion" => mesh.start_with("ingestion", &[("FOREBAY__GRPC__LISTEN", &grpc.to_string())]),
        other => mesh.start(other),
    };
    let mut services: Vec<Service> = STAGES.iter().map(own).collect();
    wait_all(&mut services);
    let http = services[0].http;
    assert!(cases(&services[0], &format!("http://{http}"), grpc, None, &[]) >= 30, "some tests were not run");
    conforms(&mesh, &format!("http://{http}"));
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/mlflow_client_cases.py").display().to_string();
    println!("{}", native_with(&["python", &program, &http.ip().to_string(), &http.port().to_string()], &[]));

    // another replica of ingestion, as other machines reach it: with TLS and a key
    let folder = mesh.folder().join("secrets");
    let path = |name: &str| folder.join(name).display().to_string();
    let made = mesh.run("forebay", &["keys", "init", &folder.display().to_string()], &[]);
    assert!(made.status.success(), "{made:?}");
    let (key, secure) = (std::fs::read_to_string(path("api-key")).unwrap(), free_address());
    let mut guarded = mesh.start_with(
        "ingestion",
        &[
            ("FOREBAY__GRPC__LISTEN", &secure.to_string()),
            ("FOREBAY__AUTH__KEYS_FILE", &path("keys")),
            ("FOREBAY__HTTP__TLS__CERT_FILE", &path("tls.crt")),
            ("FOREBAY__HTTP__TLS__KEY_FILE", &path("tls.key")),
        ],
    );
    guarded.wait_ready();
    let secrets = [("API_KEY", key.trim()), ("CA_FILE", &path("ca.crt"))];
    let url = format!("https://{}", guarded.http);
    assert_eq!(cases(&guarded, &url, secure, Some("GrpcOverTls"), &secrets), 1);
    guarded.stop();
    stop_all(services);
}

#[test]
fn labels_and_columns_of_typed_models_have_their_types() {
    let mesh = Mesh::unset("clients-typed");
    let folder = mesh.folder().join("registry");
    std::fs::create_dir(&folder).unwrap();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/typed_models.py").display().to_string();
    native_with(&["python", &program, &folder.display().to_string()], &[]);
    let (grpc, registry) = (free_address(), format!("file:{}", folder.display()));
    let settings = [
        ("FOREBAY__GRPC__LISTEN", &*grpc.to_string()),
        ("FOREBAY__MODELS__REGISTRY", &registry),
        ("FOREBAY__MODELS__NAME", "iris"),
    ];
    let mut up = mesh.launch("forebay", &["up"], &settings);
    up.wait_ready();
    let expected = folder.join("expected.json").display().to_string();
    let url = format!("http://{}", up.http);
    assert_eq!(cases(&up, &url, grpc, Some("TypedModels"), &[("EXPECTED", &expected)]), 1);
    up.stop();
}

#[test]
fn calls_over_grpc_need_the_credentials_of_http() {
    let mesh = Mesh::unset("grpc-keys");
    let keys = mesh.folder().join("keys.txt").display().to_string();
    let made = mesh.run("forebay", &["keys", "new", "ann", "--append", &keys], &[]);
    let key = String::from_utf8(made.stdout).unwrap();
    let grpc = free_address();
    let settings = [("FOREBAY__GRPC__LISTEN", &*grpc.to_string()), ("FOREBAY__AUTH__KEYS_FILE", &keys)];
    let mut up = mesh.launch("forebay", &["up"], &settings);
    up.wait_ready();
    let url = format!("http://{}", up.http);
    assert_eq!(cases(&up, &url, grpc, Some("GrpcCredentials"), &[("API_KEY", key.trim())]), 1);
    up.stop();
}

/// A Python client of openapi-python-client and types of openapi-typescript, both from the document that `forebay up` serves.
#[test]
fn generated_clients_work() {
    let mesh = Mesh::unset("openapi");
    let mut up = mesh.launch("forebay", &["up"], &[]);
    up.wait_ready();
    let folder = mesh.folder().join("generated").display().to_string();
    let mut shell = Command::new("timeout");
    shell.args(["400", "bash"]);
    suite(&mut shell, "openapi/run.sh", &[&format!("http://{}", up.http), &folder]);
    let output = shell.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{}", output.status, up.tail(20));
    assert!(text.contains("answers as described") && text.contains("answers have the described types"));
    up.stop();
}

#[test]
fn mlflow_models_serve_answers_alike() {
    let mut python = Command::new("timeout");
    python.args(["240", &variable("REAL_NATIVE"), "python"]);
    suite(&mut python, "mlflow_serve_cases.py", &[&binary("forebay").display().to_string()]);
    let output = python.output().unwrap();
    println!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}", output.status);
}

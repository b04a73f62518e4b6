//! The official clients of other model servers, unmodified, against `forebay up`. `REAL_CLIENTS_PYTHON` is a Python with
//! `clients_requirements.txt`.
#![cfg(feature = "real-services")]
#![allow(clippy::unwrap_used, reason = "a test ends at the first step that fails, and reads as one sequence")]

mod harness;

use std::path::Path;
use std::process::Command;

use harness::{Mesh, binary, free_address, variable};

#[test]
fn official_clients_work_unmodified() {
    let mesh = Mesh::unset("clients");
    let grpc = free_address().to_string();
    let mut up = mesh.launch("forebay", &["up"], &[("FOREBAY__GRPC__LISTEN", &grpc)]);
    up.wait_ready();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/clients_cases.py");
    let output = Command::new("timeout")
        .args(["240", &variable("REAL_CLIENTS_PYTHON")])
        .arg(program)
        .arg(format!("http://{}", up.http))
        .arg(&grpc)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    println!("{text}");
    assert!(output.status.success(), "{}\n{}", output.status, up.tail(20));
    let counts = text.lines().filter_map(|line| line.strip_prefix("Ran ")?.split(' ').next()?.parse::<usize>().ok());
    assert!(counts.sum::<usize>() >= 29, "some tests were not run");
    up.stop();
}

#[test]
fn calls_over_grpc_need_the_credentials_of_http() {
    let mesh = Mesh::unset("grpc-keys");
    let keys = mesh.folder().join("keys.txt").display().to_string();
    let made = mesh.run("forebay", &["keys", "new", "ann", "--append", &keys], &[]);
    let key = String::from_utf8(made.stdout).unwrap();
    let grpc = free_address().to_string();
    let settings = [("FOREBAY__GRPC__LISTEN", grpc.as_str()), ("FOREBAY__AUTH__KEYS_FILE", &keys)];
    let mut up = mesh.launch("forebay", &["up"], &settings);
    up.wait_ready();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/clients_cases.py");
    let output = Command::new("timeout")
        .args(["60", &variable("REAL_CLIENTS_PYTHON")])
        .arg(program)
        .args([&format!("http://{}", up.http), &grpc, "GrpcCredentials"])
        .env("API_KEY", key.trim())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("Ran 1 test"), "{text}");
    up.stop();
}

#[test]
fn mlflow_models_serve_answers_alike() {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/mlflow_serve_cases.py");
    let output = Command::new("timeout")
        .args(["240", &variable("REAL_NATIVE"), "python"])
        .arg(program)
        .arg(binary("forebay"))
        .output()
        .unwrap();
    println!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}", output.status);
}

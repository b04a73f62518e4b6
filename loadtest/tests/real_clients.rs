//! The official clients of other model servers, unmodified, against `forebay up`. `REAL_CLIENTS_PYTHON` is a Python with
//! `clients_requirements.txt`.
#![cfg(feature = "real-services")]
#![allow(clippy::unwrap_used, reason = "a test ends at the first step that fails, and reads as one sequence")]

mod harness;

use std::path::Path;
use std::process::Command;

use harness::{Mesh, binary, variable};

#[test]
fn official_clients_work_unmodified() {
    let mesh = Mesh::unset("clients");
    let mut up = mesh.launch("forebay", &["up"], &[]);
    up.wait_ready();
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/clients_cases.py");
    let output = Command::new("timeout")
        .args(["240", &variable("REAL_CLIENTS_PYTHON")])
        .arg(program)
        .arg(format!("http://{}", up.http))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    println!("{text}");
    assert!(output.status.success(), "{}\n{}", output.status, up.tail(20));
    let ran = text.lines().find_map(|line| line.strip_prefix("Ran ")?.split(' ').next()?.parse().ok());
    assert!(ran.is_some_and(|tests: usize| tests >= 16), "no test ran");
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

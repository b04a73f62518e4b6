//! Records that Confluent's own serializers write, against the five binaries over Kafka, with Apicurio as the schema registry.
//! `REAL_SCHEMAS_PYTHON` is a Python with `schemas_requirements.txt`, `REAL_APICURIO` the folder of the registry.
#![cfg(feature = "real-services")]
#![allow(clippy::unwrap_used, reason = "a test ends at the first step that fails, and reads as one sequence")]

mod harness;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use harness::{Mesh, brokers, free_address, http, stop_all, variable, wait_until};

/// A registry, killed when it is dropped.
struct Registry {
    process: Child,
    address: SocketAddr,
}

impl Registry {
    fn start() -> Self {
        let address = free_address();
        let folder = variable("REAL_APICURIO");
        let found = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let program = found.into_iter().find(|path| path.to_string_lossy().ends_with("-runner.jar")).unwrap();
        let mut java = Command::new("java");
        java.args(["-Xmx256m", "-Dquarkus.http.host=127.0.0.1", &format!("-Dquarkus.http.port={}", address.port())]);
        let process = java.arg("-jar").arg(program).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let registry = Self { process, address };
        wait_until(Duration::from_secs(120), "the schema registry to answer", || {
            http::get(address, "/apis/ccompat/v7/subjects").is_ok_and(|reply| reply.status == 200)
        });
        registry
    }

    fn url(&self) -> String {
        format!("http://{}/apis/ccompat/v7", self.address)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[test]
fn records_of_confluents_serializers_are_answered_like_json() {
    let registry = Registry::start();
    let mut mesh = Mesh::with_topics("schemas");
    mesh.set("FOREBAY__SCHEMAS__REGISTRY", registry.url());
    let services = mesh.start_all();
    let output = Command::new("timeout")
        .args(["150", &variable("REAL_SCHEMAS_PYTHON")])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/schemas_cases.py"))
        .args([
            brokers(),
            registry.url(),
            mesh.topic("requests_in"),
            mesh.topic("results_out"),
            mesh.topic("dead_letters"),
        ])
        .output()
        .unwrap();
    println!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{}", output.status, services[0].tail(20));
    stop_all(services);
}

/// The id of the schema that the results of a mesh have, after Confluent's deserializers have read them.
#[track_caller]
fn read_results(mesh: &Mesh, registry: &Registry, kind: &str) -> String {
    let services = mesh.start_all();
    let output = Command::new("timeout")
        .args(["150", &variable("REAL_SCHEMAS_PYTHON")])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("suites/result_schemas_cases.py"))
        .args([brokers(), registry.url(), mesh.topic("requests_in"), mesh.topic("results_out"), kind.to_owned()])
        .arg(format!("http://{}", services[0].http))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{}", output.status, services[4].tail(20));
    stop_all(services);
    text.lines().find_map(|line| line.strip_prefix("id ")).unwrap().to_owned()
}

#[test]
fn results_have_schemas_that_confluents_deserializers_read() {
    let registry = Registry::start();
    for (format, kind) in [("avro", "AVRO"), ("json-schema", "JSON"), ("protobuf", "PROTOBUF")] {
        let mut mesh = Mesh::with_topics(&format!("results-{format}"));
        mesh.set("FOREBAY__SCHEMAS__REGISTRY", registry.url());
        mesh.set("FOREBAY__RESULTS__FORMAT", format);
        let id = read_results(&mesh, &registry, kind);
        // the schema is known already, and its id may be given
        mesh.set("FOREBAY__RESULTS__SCHEMA_ID", id);
        let mut publishing = mesh.start("publishing");
        publishing.wait_ready();
        publishing.stop();
        mesh.set("FOREBAY__RESULTS__SCHEMA_ID", "99999");
        let mut publishing = mesh.start("publishing");
        assert_ne!(publishing.wait_exit(Duration::from_secs(60)), Some(0));
        assert!(publishing.tail(5).contains("schemas.registry"), "{}", publishing.tail(5));
    }
}

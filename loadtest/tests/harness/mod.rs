//! What the real-service tests share: a mesh of real binaries over the Kafka and Redis that `loadtest/suites/real.sh`
//! started.
#![allow(dead_code, unused_imports, unreachable_pub, missing_debug_implementations, reason = "each test uses a part")]
#![allow(clippy::disallowed_methods, reason = "what a test reads from the environment is no setting")]

pub mod load;
pub mod proxy;
pub mod rabbit;
pub mod service;
pub mod spans;
pub mod topic;

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use forebay_loadtest::mesh_under_test::{MESH_TOPICS as TOPICS, STAGES, http_client as http};
use forebay_loadtest::mesh_under_test::{MeshUnderTest, NativeServices};
pub use forebay_testkit::wait_until;
use serde_json::Value;
pub use service::{Service, bare, free_address};
use tempfile::TempDir;

/// The sample row: the first of the scaled diabetes data.
pub const ROW: &str = "[0.038075906433423026,0.05068011873981862,0.061696206518683294,0.0218723855140367,-0.04422349842444599,\
                       -0.03482076283769895,-0.04340084565202491,-0.002592261998183278,0.019907486170462722,-0.01764612515980379]";
/// What version 1, a scikit-learn forest, answers to it, to the bit.
pub const ROW_V1: f64 = 186.26;
/// What version 3 answers, a net in single precision.
pub const ROW_V3: f64 = 220.385_390_867_419_83;

/// Rows that no other test sends, so that no cache knows them.
pub fn row(number: usize) -> String {
    let values: Vec<String> =
        (0..10).map(|i| format!("{}", 0.01 + 1e-7 * number as f64 - 0.004 * f64::from(i))).collect();
    format!("[{}]", values.join(","))
}

/// `name` of the environment that `real.sh` prepares.
pub fn variable(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: run `bash loadtest/suites/real.sh`, not cargo alone"))
}

/// Address of the broker: the usual one, or the inside of the one with TLS.
pub fn brokers() -> String {
    if SECURE.load(Ordering::Relaxed) { variable("REAL_SECURE_INSIDE") } else { variable("REAL_KAFKA") }
}

static SECURE: AtomicBool = AtomicBool::new(false);

/// Makes the test's own clients use the broker with TLS, over its open listener.
pub fn use_secure_broker() {
    SECURE.store(true, Ordering::Relaxed);
}

/// `compose/native.sh ARGUMENTS` on the Kafka and the Redis with TLS.
#[track_caller]
pub fn native_secure(arguments: &[&str]) {
    native_in(Some(&variable("REAL_SECURE_DIR")), arguments, &[]);
}

/// Address of Redis.
pub fn redis() -> String {
    variable("REAL_REDIS")
}

/// The path of one of the project's binaries.
pub fn binary(name: &str) -> PathBuf {
    std::path::absolute(variable("FOREBAY_BIN_DIR")).unwrap().join(name)
}

/// `compose/native.sh ARGUMENTS`, on the instance that `real.sh` started.
#[track_caller]
pub fn native(arguments: &[&str]) {
    native_in(None, arguments, &[]);
}

/// As [`native`], with more in its environment; what it prints.
#[track_caller]
pub fn native_with(arguments: &[&str], environment: &[(&str, &str)]) -> String {
    native_in(None, arguments, environment)
}

#[track_caller]
fn native_in(folder: Option<&str>, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let folder = folder.map(|folder| ("FOREBAY_NATIVE_DIR", folder));
    let environment = folder.into_iter().chain(environment.iter().copied()).map(owned).collect();
    let services = NativeServices::new(PathBuf::from(variable("REAL_NATIVE")), environment);
    services.run(arguments).unwrap_or_else(|error| panic!("{error}"))
}

/// One mesh: its own topics, the settings of all services, and a folder for logs.
pub struct Mesh {
    mesh: MeshUnderTest,
    folder: TempDir,
}

impl Deref for Mesh {
    type Target = MeshUnderTest;

    fn deref(&self) -> &MeshUnderTest {
        &self.mesh
    }
}

impl DerefMut for Mesh {
    fn deref_mut(&mut self) -> &mut MeshUnderTest {
        &mut self.mesh
    }
}

impl Mesh {
    /// Fresh topic names; nothing is made or started.
    pub fn named(name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("forebay-real-").tempdir().unwrap();
        let logs = std::env::var("REAL_KEEP").map_or_else(|_| folder.path().to_path_buf(), PathBuf::from);
        Self { mesh: MeshUnderTest::new(name, &brokers(), binary(""), logs), folder }
    }

    /// No settings at all, as right after a build.
    pub fn unset(name: &str) -> Self {
        let mut mesh = Self::named(name);
        mesh.clear_settings();
        mesh
    }

    /// Fresh topics, made by `forebay topics create`.
    pub fn with_topics(name: &str) -> Self {
        let mesh = Self::named(name);
        mesh.create_topics();
        mesh
    }

    /// Take-overs of killed replicas are waited for: shorter than the default of 10 s. A process that gets no processor
    /// for half of it ends itself, so this is for tests that kill.
    pub fn short_sessions(&mut self) {
        self.set("FOREBAY__KAFKA__SESSION_TIMEOUT", "6s");
    }

    /// The name of a topic of this mesh, by its setting.
    #[track_caller]
    pub fn topic(&self, setting: &str) -> String {
        assert!(TOPICS.contains(&setting), "{setting}");
        self.mesh.topic(setting)
    }

    /// The consumer group of the clients' topic.
    pub fn outside_group(&self) -> String {
        self.mesh.outside_group()
    }

    /// Adds a setting for every process that is started later.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.mesh.set(name, value);
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a binary to its end with the mesh's settings.
    #[track_caller]
    pub fn run(&self, name: &str, arguments: &[&str], more: &[(&str, &str)]) -> Output {
        self.mesh.run(name, arguments, more).unwrap_or_else(|error| panic!("{error}"))
    }

    /// `forebay topics create`; what it prints.
    #[track_caller]
    pub fn create_topics(&self) -> String {
        self.mesh.create_topics().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts one replica of a service.
    #[track_caller]
    pub fn start(&self, stage: &str) -> Service {
        self.start_with(stage, &[])
    }

    /// Starts one replica with settings of its own.
    #[track_caller]
    pub fn start_with(&self, stage: &str, more: &[(&str, &str)]) -> Service {
        self.launch(&format!("forebay-{stage}"), &[], more)
    }

    /// Starts a binary.
    #[track_caller]
    pub fn launch(&self, name: &str, arguments: &[&str], more: &[(&str, &str)]) -> Service {
        Service(self.mesh.launch(name, arguments, more).unwrap_or_else(|error| panic!("{error}")))
    }

    /// Starts one replica of each service and waits until all are ready.
    #[track_caller]
    pub fn start_all(&self) -> Vec<Service> {
        let mut services: Vec<Service> = STAGES.iter().map(|stage| self.start(stage)).collect();
        wait_all(&mut services);
        services
    }

    /// Waits until a service is ready after an outage of the broker. One that ended as the documentation says is started
    /// again, as an orchestrator does; any other end fails the test.
    #[track_caller]
    pub fn ready_again(&self, service: &mut Service, within: Duration) {
        wait_until(within, &format!("{} to be ready again", service.name), || {
            if let Some(status) = service.exit_status() {
                let (stage, output) = (service.name.trim_start_matches("forebay-").to_owned(), service.output());
                let ends = ["lost its brokers for good and", "work on revoked partitions is unsettled"];
                let documented = stage == "publishing" && ends.iter().any(|end| output.contains(end));
                assert!(documented, "{} ended in the outage, {status}: {}", service.name, service.tail(20));
                println!("{} ended in the outage and is started again:\n{}", service.name, service.tail(3));
                *service = self.start(&stage);
            }
            service.is_ready()
        });
    }
}

/// Waits until all of them are ready.
#[track_caller]
pub fn wait_all<'a>(services: impl IntoIterator<Item = &'a mut Service>) {
    for service in services {
        service.wait_ready();
    }
}

/// SIGTERM to each in the order of the path; every one must end with 0.
#[track_caller]
pub fn stop_all(services: Vec<Service>) {
    for mut service in services {
        service.stop();
    }
}

/// Asserts that a JSON value is a number close to `expected`.
#[track_caller]
pub fn assert_close(value: &Value, expected: f64, tolerance: f64) {
    let number = value.as_f64().unwrap_or_else(|| panic!("{value} is no number, expected {expected}"));
    assert!((number - expected).abs() <= tolerance, "{number} is not {expected}");
}

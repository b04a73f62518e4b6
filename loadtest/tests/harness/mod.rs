//! What the real-service tests share: a mesh of real binaries over the Kafka and Redis that `loadtest/suites/real.sh`
//! started.
#![allow(dead_code, unused_imports, unreachable_pub, missing_debug_implementations, reason = "each test uses a part")]
#![allow(clippy::disallowed_methods, reason = "what a test reads from the environment is no setting")]

pub mod http;
pub mod load;
pub mod proxy;
pub mod rabbit;
pub mod service;
pub mod spans;
pub mod topic;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub use forebay_testkit::wait_until;
use serde_json::Value;
pub use service::{Launch, Service, bare, free_address};
use tempfile::TempDir;

/// The stages in the order of the path.
pub const STAGES: [&str; 5] = ["ingestion", "preprocessing", "caching", "prediction", "publishing"];

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
    let folder = std::path::absolute(variable("FOREBAY_BIN_DIR")).unwrap();
    folder.join(name)
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
    let mut command = Command::new("timeout");
    command.envs(folder.map(|folder| ("FOREBAY_NATIVE_DIR", folder)));
    command.arg("200").arg(variable("REAL_NATIVE")).args(arguments).stdin(Stdio::null());
    command.envs(environment.iter().copied());
    // files and not pipes: what it starts inherits nothing it could keep open, and there is nothing to read forever
    let log = std::env::temp_dir().join(format!("forebay-native-{}.log", std::process::id()));
    let file = std::fs::File::create(&log).unwrap();
    let status = command.stdout(file.try_clone().unwrap()).stderr(file).status().unwrap();
    let text = std::fs::read_to_string(&log).unwrap_or_default();
    assert!(status.success(), "native.sh {arguments:?}: {status}: {text}");
    text
}

/// One mesh: its own topics, the settings of all services, and a folder for logs.
pub struct Mesh {
    name: String,
    folder: TempDir,
    settings: Vec<(String, String)>,
    started: AtomicU32,
}

impl Mesh {
    /// Fresh topic names; nothing is made or started.
    pub fn named(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}-{}-{number}", std::process::id());
        let mut settings = vec![
            ("FOREBAY__KAFKA__BROKERS".to_owned(), brokers()),
            ("CONSUMER_GROUP".to_owned(), format!("{name}.outside")),
            ("FOREBAY__LOG__FORMAT".to_owned(), "json".to_owned()),
        ];
        for topic in TOPICS {
            settings.push((format!("FOREBAY__TOPICS__{}", topic.to_uppercase()), format!("{name}.{topic}")));
        }
        let folder = tempfile::Builder::new().prefix("forebay-real-").tempdir().unwrap();
        Self { name, folder, settings, started: AtomicU32::new(0) }
    }

    /// No settings at all, as right after a build.
    pub fn unset(name: &str) -> Self {
        let mut mesh = Self::named(name);
        mesh.settings.clear();
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

    /// Adds a setting for every process that is started later.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value.into()));
    }

    /// Removes a setting.
    pub fn unset_one(&mut self, name: &str) {
        self.settings.retain(|(known, _)| known != name);
    }

    /// The name of a topic of this mesh, by its setting.
    pub fn topic(&self, setting: &str) -> String {
        assert!(TOPICS.contains(&setting), "{setting}");
        format!("{}.{setting}", self.name)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a binary to its end with the mesh's settings.
    pub fn run(&self, name: &str, arguments: &[&str], more: &[(&str, &str)]) -> Output {
        let mut command = bare(&binary(name));
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.envs(more.iter().copied()).args(arguments).stdin(Stdio::null());
        command.output().unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// `forebay topics create`; what it prints.
    #[track_caller]
    pub fn create_topics(&self) -> String {
        let output = self.run("forebay", &["topics", "create"], &[]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text
    }

    /// Starts one replica of a service.
    pub fn start(&self, stage: &str) -> Service {
        self.start_with(stage, &[])
    }

    /// Starts one replica with settings of its own.
    pub fn start_with(&self, stage: &str, more: &[(&str, &str)]) -> Service {
        self.launch(&format!("forebay-{stage}"), &[], more)
    }

    /// Starts a binary.
    pub fn launch(&self, name: &str, arguments: &[&str], more: &[(&str, &str)]) -> Service {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let log = match std::env::var("REAL_KEEP") {
            Ok(folder) => Path::new(&folder).join(format!("{}-{number}-{name}.log", self.name)),
            Err(_) => self.folder.path().join(format!("{number}-{name}.log")),
        };
        let mut environment = self.settings.clone();
        for (key, value) in more {
            environment.retain(|(known, _)| known != key);
            environment.push(((*key).to_owned(), (*value).to_owned()));
        }
        Service::start(Launch { name, binary: &binary(name), arguments, environment: &environment, log })
    }

    /// Starts one replica of each service and waits until all are ready.
    #[track_caller]
    pub fn start_all(&self) -> Vec<Service> {
        let mut services: Vec<Service> = STAGES.iter().map(|stage| self.start(stage)).collect();
        wait_all(&mut services);
        services
    }
}

/// Waits until all of them are ready.
#[track_caller]
pub fn wait_all<'a>(services: impl IntoIterator<Item = &'a mut Service>) {
    for service in services {
        service.wait_ready();
    }
}

/// Topics by their settings, in the order of the path.
pub const TOPICS: [&str; 10] = [
    "requests_in",
    "requests",
    "features",
    "predict",
    "predictions",
    "results",
    "replies",
    "results_out",
    "dead_letters",
    "models",
];

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

//! The five services with topics and settings of their own.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::process::{MeshProcess, ProcessLaunch, bare_command};
use crate::error::LoadtestError;

/// The stages in the order of the path.
pub const STAGES: [&str; 5] = ["ingestion", "preprocessing", "caching", "prediction", "publishing"];

/// Topics by their settings, in the order of the path.
pub const MESH_TOPICS: [&str; 10] = [
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

/// One mesh: the settings of all services, where their binaries are, and a folder for logs.
#[derive(Debug)]
pub struct MeshUnderTest {
    name: String,
    binaries: PathBuf,
    logs: PathBuf,
    settings: Vec<(String, String)>,
    started: AtomicU32,
}

impl MeshUnderTest {
    /// Fresh topic names; nothing is made or started.
    #[must_use]
    pub fn new(name: &str, brokers: &str, binaries: PathBuf, logs: PathBuf) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}-{}-{number}", std::process::id());
        let mut settings = vec![
            ("FOREBAY__KAFKA__BROKERS".to_owned(), brokers.to_owned()),
            ("CONSUMER_GROUP".to_owned(), format!("{name}.outside")),
            ("FOREBAY__LOG__FORMAT".to_owned(), "json".to_owned()),
        ];
        for topic in MESH_TOPICS {
            settings.push((format!("FOREBAY__TOPICS__{}", topic.to_uppercase()), format!("{name}.{topic}")));
        }
        Self { name, binaries, logs, settings, started: AtomicU32::new(0) }
    }

    /// Removes all settings, as right after a build.
    pub fn clear_settings(&mut self) {
        self.settings.clear();
    }

    /// Adds a setting for every process that is started later.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.unset_one(name);
        self.settings.push((name.to_owned(), value.into()));
    }

    /// Removes a setting.
    pub fn unset_one(&mut self, name: &str) {
        self.settings.retain(|(known, _)| known != name);
    }

    /// The name of a topic of this mesh, by its setting.
    #[must_use]
    pub fn topic(&self, setting: &str) -> String {
        format!("{}.{setting}", self.name)
    }

    /// The consumer group of the clients' topic.
    #[must_use]
    pub fn outside_group(&self) -> String {
        format!("{}.outside", self.name)
    }

    /// Where logs go.
    #[must_use]
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// Runs a binary to its end with the mesh's settings.
    pub fn run(&self, name: &str, arguments: &[&str], more: &[(&str, &str)]) -> Result<Output, LoadtestError> {
        let binary = self.binaries.join(name);
        let mut command = bare_command(&binary);
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.envs(more.iter().copied()).args(arguments).stdin(Stdio::null());
        command.output().map_err(LoadtestError::file(&binary))
    }

    /// `forebay topics create`; what it prints.
    pub fn create_topics(&self) -> Result<String, LoadtestError> {
        let output = self.run("forebay", &["topics", "create"], &[])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        let why = String::from_utf8_lossy(&output.stderr);
        Err(LoadtestError::Input(format!("forebay topics create: {}: {text}{why}", output.status)))
    }

    /// Where the binaries are.
    #[must_use]
    pub fn binaries(&self) -> &Path {
        &self.binaries
    }

    /// Starts a binary, with more settings or others.
    pub fn launch(&self, name: &str, arguments: &[&str], more: &[(&str, &str)]) -> Result<MeshProcess, LoadtestError> {
        self.launch_from(&self.binaries, name, arguments, more)
    }

    /// As [`MeshUnderTest::launch`], with the binary of another build.
    pub fn launch_from(
        &self,
        binaries: &Path,
        name: &str,
        arguments: &[&str],
        more: &[(&str, &str)],
    ) -> Result<MeshProcess, LoadtestError> {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let log = self.logs.join(format!("{}-{number}-{name}.log", self.name));
        let mut environment = self.settings.clone();
        for (key, value) in more {
            environment.retain(|(known, _)| known != key);
            environment.push(((*key).to_owned(), (*value).to_owned()));
        }
        let binary = binaries.join(name);
        MeshProcess::start(ProcessLaunch { name, binary: &binary, arguments, environment: &environment, log })
    }
}

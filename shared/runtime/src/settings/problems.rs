//! Problems of the settings, collected so that one start reports all of them, and the origins of values.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The layer, and the place in it, that gave a setting its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingOrigin {
    /// The embedded `settings.toml`.
    Default,
    /// A settings file; `line` counts from 1.
    File {
        /// The path as the operator gave it.
        path: PathBuf,
        /// Line of the key.
        line: usize,
    },
    /// A variable of an older deployment, such as `KAFKA_BROKER`.
    Legacy(String),
    /// A default that differs for the deployment in use, such as Event Hubs instead of Kafka.
    DefaultFor(&'static str),
    /// A `FOREBAY__` variable.
    Environment(String),
    /// A file that a `FOREBAY__..._FILE` variable names; its content is treated as a secret.
    SecretFile {
        /// The variable.
        variable: String,
        /// The file that it names.
        path: PathBuf,
    },
    /// `--set`.
    Flag,
}

impl fmt::Display for SettingOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Legacy(variable) => write!(f, "legacy variable {variable}"),
            Self::DefaultFor(deployment) => write!(f, "default for {deployment}"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::SecretFile { variable, path } => write!(f, "{} named by {variable}", path.display()),
            Self::Flag => f.write_str("--set"),
        }
    }
}

/// One problem of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingProblem {
    /// The dotted key, or the name of a file or variable that cannot be used at all.
    pub key: String,
    /// SettingOrigin of the value, if the key has one.
    pub origin: Option<SettingOrigin>,
    /// What is wrong and what was expected.
    pub text: String,
}

/// A list of problems, with the origins of all values.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    found: Vec<SettingProblem>,
    origins: Arc<BTreeMap<String, SettingOrigin>>,
}

impl Problems {
    pub(super) fn with_origins(found: Vec<SettingProblem>, origins: BTreeMap<String, SettingOrigin>) -> Self {
        Self { found, origins: Arc::new(origins) }
    }

    /// Adds a problem of the setting `key` (dotted, such as `"cache.capacity"`) with the origin of its value.
    pub fn add(&mut self, key: impl Into<String>, text: impl Into<String>) {
        let key = key.into();
        let origin = self.origins.get(&key).cloned();
        self.push(key, origin, text);
    }

    /// Adds a problem of a value from `origin`.
    pub fn push(&mut self, key: impl Into<String>, origin: Option<SettingOrigin>, text: impl Into<String>) {
        let problem = SettingProblem { key: key.into(), origin, text: text.into() };
        // a section that several services of one process read is checked by each of them
        if !self.found.contains(&problem) {
            self.found.push(problem);
        }
    }

    /// Whether there are no problems.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The problems so far, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &SettingProblem> {
        self.found.iter()
    }

    /// All problems as one error.
    ///
    /// # Errors
    /// If at least one problem was added.
    pub fn into_result(self) -> Result<(), SettingsError> {
        if self.found.is_empty() { Ok(()) } else { Err(SettingsError { problems: self.found }) }
    }
}

/// Whether a PEM file that a library will read later can be read now.
///
/// # Errors
/// What is wrong with the file, as the text of a problem.
pub fn check_pem(path: &Path) -> Result<(), String> {
    match std::fs::read(path) {
        Ok(bytes) if bytes.windows(11).any(|text| text == b"-----BEGIN ") => Ok(()),
        Ok(_) => Err(format!("names {}, which is no PEM file", path.display())),
        Err(error) => Err(format!("names {}, which cannot be read: {error}", path.display())),
    }
}

/// The settings cannot be used. `Display` prints one line per problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SettingsError {
    /// At least one problem.
    pub problems: Vec<SettingProblem>,
}

impl SettingsError {
    /// A problem that is a bug, which an operator cannot correct.
    pub(super) fn broken(what: impl Into<String>, text: String) -> Self {
        Self { problems: vec![SettingProblem { key: what.into(), origin: Some(SettingOrigin::Default), text }] }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => writeln!(f, "1 problem in the settings:")?,
            count => writeln!(f, "{count} problems in the settings:")?,
        }
        for problem in &self.problems {
            match &problem.origin {
                Some(origin) => writeln!(f, "  {} ({origin}): {}", problem.key, problem.text)?,
                None => writeln!(f, "  {}: {}", problem.key, problem.text)?,
            }
        }
        Ok(())
    }
}

//! Where a value came from.

use std::fmt;
use std::path::PathBuf;

/// The layer and place that gave a setting its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The embedded `settings.toml`.
    Default,
    /// A settings file; `line` counts from 1.
    File {
        /// As it was named.
        path: PathBuf,
        /// Line of the value.
        line: usize,
    },
    /// A variable of an older deployment, such as `KAFKA_BROKER`.
    Legacy(String),
    /// What Event Hubs wants otherwise than Kafka.
    EventHubs,
    /// A `FOREBAY__` variable.
    Environment(String),
    /// A file that a `FOREBAY__..._FILE` variable named; its content is treated as a secret.
    SecretFile {
        /// The variable.
        variable: String,
        /// The file it named.
        path: PathBuf,
    },
    /// `--set`.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Legacy(variable) => write!(f, "legacy variable {variable}"),
            Self::EventHubs => f.write_str("default for Event Hubs"),
            Self::Environment(variable) => write!(f, "environment {variable}"),
            Self::SecretFile { variable, path } => write!(f, "{} named by {variable}", path.display()),
            Self::Flag => f.write_str("--set"),
        }
    }
}

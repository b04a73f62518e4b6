//! What can stop a measurement, worded for the person who started it.

use std::path::{Path, PathBuf};

use rdkafka::error::KafkaError;

/// Why a command could not do its work (exit code 2). A run that finished but found losses is not an error but a
/// verdict.
#[derive(Debug, thiserror::Error)]
pub enum LoadtestError {
    /// The broker refused or could not be reached.
    #[error("{what}: {source}")]
    Kafka {
        /// What was being done, with the topic or address.
        what: String,
        /// The client library's reason.
        source: KafkaError,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A socket, thread or child process failed.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// An argument or an input file makes no sense; the text names it.
    #[error("{0}")]
    Input(String),
}

impl LoadtestError {
    pub(crate) fn kafka(what: impl Into<String>) -> impl FnOnce(KafkaError) -> Self {
        let what = what.into();
        move |source| Self::Kafka { what, source }
    }

    pub(crate) fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::File { path, source }
    }

    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }
}

//! Errors of a registry.

use forebay_artefact::{Fault, OverBudget};

/// The reason why a registry or one of its versions cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    #[error("registry location {location:?} is not usable: {reason}")]
    Location { location: String, reason: String },
    #[error("no model {model:?} in the registry")]
    UnknownModel { model: String },
    #[error("model {model:?} has no version {version}")]
    UnknownVersion { model: String, version: u32 },
    #[error("model {model:?} has no version at all")]
    NoVersions { model: String },
    #[error("model URI {uri:?}: {reason}")]
    Uri { uri: String, reason: String },
    #[error("{path}: {reason}")]
    Io { path: String, reason: String },
    #[error("model {model:?} version {version}: {fault}")]
    Artefact { model: String, version: u32, fault: Fault },
    /// There was no response, or a temporary error (5xx, 429), whose status is included.
    #[error("{url}: {reason}")]
    Unreachable { url: String, status: Option<u16>, reason: String },
    /// The server rejected the request; `code` is MLflow's `error_code`, empty when the response has none.
    #[error("{url}: status {status}{}{}: {message}", if .code.is_empty() { "" } else { " " }, .code)]
    Refused { url: String, status: u16, code: String, message: String },
    /// The response is not one that MLflow sends, or it is too large.
    #[error("{url}: {reason}")]
    Answer { url: String, reason: String },
}

impl RegistryError {
    /// Whether the server denied access (401, 403).
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Refused { status: 401 | 403, .. })
    }

    /// Whether what was requested does not exist.
    pub fn is_missing(&self) -> bool {
        match self {
            Self::UnknownModel { .. } | Self::UnknownVersion { .. } => true,
            Self::Refused { status, code, .. } => *status == 404 || code == "RESOURCE_DOES_NOT_EXIST",
            _ => false,
        }
    }

    /// Whether a version needs more memory than the process has left for it.
    pub fn is_over_budget(&self) -> bool {
        matches!(self, Self::Artefact { fault, .. } if OverBudget::is_of_files(&fault.reason))
    }

    /// Whether the server could not be reached.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

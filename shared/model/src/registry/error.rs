//! What a registry answers when it cannot give what was asked.

use crate::Fault;

/// Why a registry or one of its versions is not usable.
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
    #[error("{path}: {reason}")]
    Io { path: String, reason: String },
    #[error("model {model:?} version {version}: {fault}")]
    Artefact { model: String, version: u32, fault: Fault },
}

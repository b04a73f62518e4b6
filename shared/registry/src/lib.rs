//! Registry of model versions: an MLflow server, a folder, models by their paths, or the sample embedded in the binary.
//! It lists models, returns the files of a version and reads the metadata beside the model. Models are compiled by
//! `forebay-model`.
//!
//! # Layout
//! - [`Registry`]: one open registry; [`RegistryOptions`]: how it is opened
//! - [`ModelView`], [`VersionView`], [`VersionMeta`]: what it lists, and what is known of a version without loading it
//! - [`ModelUri`]: `models:/...`, MLflow's addresses of models
//! - [`RegistryWatch`]: when to look at a registry again
//! - `location`: the forms of `models.registry`
//! - `local`, `mlflow`, `cache`: folders, MLflow servers, and the files cached on disk for when a server is down
//! - `ModelSettings`, `webhook` (feature `service`): the section `[models]`, and MLflow's notifications of changes
//! - [`sample`]: the embedded registry

mod cache;
mod error;
mod local;
mod location;
mod mlflow;
mod options;
mod registry;
pub mod sample;
#[cfg(feature = "service")]
mod settings;
mod uri;
mod version;
mod view;
mod watch;
#[cfg(feature = "service")]
pub mod webhook;

pub use error::RegistryError;
pub use forebay_artefact::mlmodel::unnamed_features;
pub use forebay_artefact::{
    Column, ColumnKind, Fault, Inputs, ModelPath, Output, Param, PrepareError, Preprocessing, UnknownOutput,
    VersionFiles, hex,
};
pub use location::location_of_paths;
pub use mlflow::{Body, MlflowClient, Verb};
pub use options::{OnProgress, RegistryCredentials, RegistryOptions, TlsOptions};
pub use registry::{Registry, RegistryStatus};
#[cfg(feature = "service")]
pub use settings::ModelSettings;
pub use uri::ModelUri;
pub use version::VersionMeta;
pub use view::{ModelView, Resolution, VersionView};
pub use watch::{RefreshError, RegistryWatch};

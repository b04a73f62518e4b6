//! A registry of model versions: an MLflow server, a folder, or the sample embedded in the binary.
//!
//! Layout of a folder registry (`file:PATH`):
//!
//! ```text
//! ROOT/<model>/registered_model.yaml     aliases and stages; optional
//! ROOT/<model>/<version>/MLmodel         MLflow's description: flavor, file, signature, example
//! ROOT/<model>/<version>/model.skops     the file MLmodel names (model.skops, model.pkl, model.onnx, model.bpk)
//! ROOT/<model>/<version>/input_example.json
//! ROOT/<model>/<version>/preprocessing/{MLmodel,model.skops}   applied before the model; optional
//! ```
//!
//! `<version>` is a number. `registered_model.yaml`:
//!
//! ```yaml
//! aliases: {champion: 3, candidate: 4}     # alias: version
//! stages: {1: Archived, 3: Production}     # version: stage
//! ```
//!
//! A version of an MLflow server is such a folder of artefacts. Its `preprocessing/` may also be logged elsewhere and
//! named by the version's tag `forebay.preprocessing` (`runs:/ID/scaler.pkl`, `models:/scaler/2`, `models:/m-ID`).

mod cache;
mod error;
mod local;
mod mlflow;
mod options;
mod store;
mod uri;
mod version;
mod view;
mod watch;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

pub use error::RegistryError;
pub use mlflow::{Body, MlflowClient, Verb};
pub use options::{Credentials, RegistryOptions, TlsOptions};
pub(crate) use store::Store;
pub use uri::ModelUri;
pub use version::{LoadedVersion, VersionMeta};
pub use view::{ModelView, Resolution, VersionView};
pub use watch::{RegistryWatch, Trouble};

use crate::Fault;
use crate::folder::{self, Opened};
use local::Local;
use mlflow::Mlflow;

/// Model, version, digest.
type ContentKey = (String, u32, [u8; 32]);

/// Access to the models of one location. Listing and loading are separate, and the listing stays what it was at the
/// last `open` or `refresh`. Calls block: with an MLflow server for as long as `RegistryOptions::timeout` and more, so
/// they belong on threads of their own.
///
/// The digest of a version says whether it is the one known already. Of folders it is BLAKE3 over names and contents of
/// its files. Of an MLflow server it is BLAKE3 over what identifies the version (name, number, creation time, source, run,
/// preprocessing tag), as MLflow never changes the files of a version: known before they are fetched, and the same in every
/// process. Who replaces artefacts behind MLflow's back has to register a new version.
#[derive(Debug)]
pub struct Registry {
    location: String,
    source: Source,
    described: Mutex<HashMap<ContentKey, VersionMeta>>,
}

#[derive(Debug)]
enum Source {
    Local(Local),
    Mlflow(Box<Mlflow>),
}

/// How far a registry's listing can be relied on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryStatus {
    /// Why the listing is an old one: the server did not answer at the last look. `refresh` goes on trying.
    pub stale: Option<String>,
}

impl Registry {
    /// Opens `sample` (embedded), `file:PATH` or the address of an MLflow server, with the defaults of
    /// [`RegistryOptions::new`].
    ///
    /// # Errors
    /// As [`Registry::open_with`].
    pub fn open(location: &str) -> Result<Self, RegistryError> {
        Self::open_with(&RegistryOptions::new(location))
    }

    /// Opens a registry. An MLflow server that does not answer is replaced by its last listing, when that was kept.
    ///
    /// # Errors
    /// [`RegistryError::Location`] for a location that is none or cannot be read; what a server answered otherwise.
    pub fn open_with(options: &RegistryOptions) -> Result<Self, RegistryError> {
        let location = options.location.trim();
        let (source, location) = if location.starts_with("http://") || location.starts_with("https://") {
            let server = Mlflow::open(&RegistryOptions { location: location.to_owned(), ..options.clone() })?;
            let address = server.address().to_owned();
            (Source::Mlflow(Box::new(server)), address)
        } else {
            let local = if location == "sample" {
                Local::sample()
            } else if let Some(path) = location.strip_prefix("file:") {
                Local::folder(PathBuf::from(path.strip_prefix("//").unwrap_or(path)))
            } else {
                Err(Fault::new(location, "expected \"sample\", file:PATH or http(s)://"))
            };
            let refused =
                |fault: Fault| RegistryError::Location { location: location.to_owned(), reason: fault.reason };
            (Source::Local(local.map_err(refused)?), location.to_owned())
        };
        Ok(Self { location, source, described: Mutex::default() })
    }

    /// Where it is, without a password.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Every model, by name.
    pub fn models(&self) -> Vec<ModelView> {
        match &self.source {
            Source::Local(local) => local.models(),
            Source::Mlflow(server) => server.models(),
        }
    }

    /// One model.
    pub fn model(&self, name: &str) -> Option<ModelView> {
        match &self.source {
            Source::Local(local) => local.model(name),
            Source::Mlflow(server) => server.model(name),
        }
    }

    /// Whether the listing is of now.
    pub fn status(&self) -> RegistryStatus {
        match &self.source {
            Source::Local(_) => RegistryStatus::default(),
            Source::Mlflow(server) => RegistryStatus { stale: server.stale() },
        }
    }

    /// Looks again at what the registry holds. Unreadable models keep their last good listing and are logged; so does
    /// everything while an MLflow server does not answer, see [`Registry::status`].
    ///
    /// # Errors
    /// [`RegistryError::Location`] when a folder cannot be read; the listing stays as it was.
    pub fn refresh(&self) -> Result<(), RegistryError> {
        // reading models needs much more than they keep, and mimalloc looks for what it can give back to the system only
        // when something large is freed, a while later
        drop(std::hint::black_box(Vec::<u8>::with_capacity(8 << 20)));
        match &self.source {
            Source::Local(local) => local
                .refresh()
                .map_err(|f| RegistryError::Location { location: self.location.clone(), reason: f.to_string() })?,
            Source::Mlflow(server) => server.refresh(),
        }
        let listed = |(name, version, digest): &ContentKey| {
            self.model(name).and_then(|view| view.version(*version).map(|v| v.digest == *digest)).unwrap_or(false)
        };
        self.described.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| listed(key));
        Ok(())
    }

    /// Loads a version: fetches its files if they are elsewhere, reads, validates and compiles it. Milliseconds to tens of
    /// milliseconds for files that are here; blocking. Of a folder, its digest is that of the bytes loaded, which differs
    /// from the listed one when the files changed since.
    ///
    /// # Errors
    /// Unknown model or version, what the server answered, or [`RegistryError::Artefact`] naming file and place.
    pub fn load(&self, name: &str, version: u32) -> Result<LoadedVersion, RegistryError> {
        self.load_listed(name, version).map(|(loaded, _)| loaded)
    }

    /// What a version is, without keeping its weights. Reads the artefact once and remembers by digest.
    ///
    /// # Errors
    /// As [`Registry::load`].
    pub fn describe(&self, name: &str, version: u32) -> Result<VersionMeta, RegistryError> {
        let listed = self.listed(name, version)?;
        let key = (name.to_owned(), version, listed.digest);
        let known = self.described.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        match known {
            // the stage may have moved since
            Some(meta) => Ok(VersionMeta { stage: listed.stage, ..meta }),
            None => self.load_listed(name, version).map(|(_, meta)| meta),
        }
    }

    /// The model and version that `uri` names now. An alias, stage or version that does not exist is an error: nothing
    /// stands in. The model need not be among those listed.
    ///
    /// # Errors
    /// [`RegistryError::Uri`] for a logged model, which has neither, and for an unknown alias or stage; as [`Registry::load`].
    pub fn resolve_uri(&self, uri: &ModelUri) -> Result<(String, u32), RegistryError> {
        let none = |reason: &str| RegistryError::Uri { uri: uri.to_string(), reason: reason.to_owned() };
        let name = uri.name().ok_or_else(|| none("names no registered model"))?;
        if let (ModelUri::Version { version, .. }, Source::Mlflow(_)) = (uri, &self.source) {
            return Ok((name.to_owned(), *version));
        }
        let view = match &self.source {
            Source::Local(local) => {
                local.model(name).ok_or_else(|| RegistryError::UnknownModel { model: name.to_owned() })?
            }
            Source::Mlflow(server) => server.look_up(name)?,
        };
        let found = match uri {
            ModelUri::Version { version, .. } => view.version(*version).map(|v| v.version),
            ModelUri::Latest { .. } => view.versions.last().map(|v| v.version),
            ModelUri::Alias { alias, .. } => view.aliased(alias),
            ModelUri::Stage { stage, .. } => view.staged(stage),
            ModelUri::LoggedModel { .. } => None,
        };
        let found = found.ok_or_else(|| match uri {
            ModelUri::Version { version, .. } => {
                RegistryError::UnknownVersion { model: name.to_owned(), version: *version }
            }
            _ => none("names no version of the model"),
        })?;
        Ok((name.to_owned(), found))
    }

    /// Loads what `uri` names now; see [`Registry::resolve_uri`]. A logged model has its id for a name and version 0.
    ///
    /// # Errors
    /// As [`Registry::resolve_uri`] and [`Registry::load`].
    pub fn load_uri(&self, uri: &ModelUri) -> Result<LoadedVersion, RegistryError> {
        if let ModelUri::LoggedModel { id } = uri {
            let Source::Mlflow(server) = &self.source else {
                let reason = "is a logged model, which only an MLflow server has".to_owned();
                return Err(RegistryError::Uri { uri: uri.to_string(), reason });
            };
            let (files, digest) = server.read_logged(id)?;
            let opened = apart(id, || folder::open_files(files, digest));
            return opened.map(|opened| opened.into_version(id, 0, None).0).map_err(|f| artefact(id, 0, f));
        }
        let (name, version) = self.resolve_uri(uri)?;
        self.read(&name, version).map(|opened| opened.into_version(&name, version, None).0)
    }

    fn listed(&self, name: &str, version: u32) -> Result<VersionView, RegistryError> {
        let model = self.model(name).ok_or_else(|| RegistryError::UnknownModel { model: name.to_owned() })?;
        let found = model.version(version);
        found.cloned().ok_or_else(|| RegistryError::UnknownVersion { model: name.to_owned(), version })
    }

    fn load_listed(&self, name: &str, version: u32) -> Result<(LoadedVersion, VersionMeta), RegistryError> {
        let listed = self.listed(name, version)?;
        let (loaded, meta) = self.read(name, version)?.into_version(name, version, listed.stage);
        let key = (name.to_owned(), version, loaded.digest);
        self.described.lock().unwrap_or_else(PoisonError::into_inner).insert(key, meta.clone());
        Ok((loaded, meta))
    }

    fn read(&self, name: &str, version: u32) -> Result<Opened, RegistryError> {
        let opened = match &self.source {
            Source::Local(local) => apart(name, || local.open(name, version)),
            Source::Mlflow(server) => {
                let (files, digest) = server.read(name, version)?;
                apart(name, || folder::open_files(files, digest))
            }
        };
        opened.map_err(|fault| artefact(name, version, fault))
    }
}

fn artefact(name: &str, version: u32, fault: Fault) -> RegistryError {
    RegistryError::Artefact { model: name.to_owned(), version, fault }
}

/// On a thread of its own: with it goes its heap, and reading needs several times what the model keeps. A panic there is a
/// fault of the artefact.
fn apart(place: &str, open: impl FnOnce() -> Result<Opened, Fault> + Send) -> Result<Opened, Fault> {
    let opened = std::thread::scope(|scope| scope.spawn(open).join());
    opened.unwrap_or_else(|_| Err(Fault::new(place, "reading it failed unexpectedly")))
}

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
//! tags: {3: {forebay.output: predict_proba}}   # version: what its answers hold
//! ```
//!
//! A version of an MLflow server is such a folder of artefacts. Its `preprocessing/` may also be logged elsewhere and
//! named by the version's tag `forebay.preprocessing` (`runs:/ID/scaler.pkl`, `models:/scaler/2`, `models:/m-ID`).

mod reading;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use forebay_artefact::{Fault, VersionFiles};

use crate::local::LocalRegistry;
use crate::location::{is_server, open_local};
use crate::mlflow::MlflowRegistry;
use crate::{ModelUri, ModelView, RegistryError, RegistryOptions, VersionMeta, VersionView};
use reading::{apart, artefact};

/// Model, version and digest.
type ContentKey = (String, u32, [u8; 32]);

/// Access to the models of one location. Listing and loading are separate; the listing changes only on `open` and
/// `refresh`. Calls block, with an MLflow server for `RegistryOptions::timeout` or longer, so they belong on a
/// dedicated thread.
///
/// The digest of a version identifies its content. In a folder it is BLAKE3 over the names and contents of the
/// version's files. On an MLflow server it is BLAKE3 over what identifies the version (name, number, creation time,
/// source, run, preprocessing tag), because MLflow never changes the files of a version. This digest is known before
/// the files are fetched and is the same in every process. To replace artefacts behind MLflow's back, register a new
/// version.
#[derive(Debug)]
pub struct Registry {
    location: String,
    source: Source,
    load_limit: Option<u64>,
    /// With and without the preprocessing artefact.
    described: Mutex<HashMap<(ContentKey, bool), VersionMeta>>,
}

#[derive(Debug)]
enum Source {
    Local(LocalRegistry),
    Mlflow(Box<MlflowRegistry>),
}

/// Whether the listing of a registry is up to date.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RegistryStatus {
    /// Why the listing is out of date: the server did not respond to the last `refresh`. The next one tries again.
    pub stale: Option<String>,
}

impl Registry {
    /// Opens `sample` (embedded), `file:PATH`, `paths:MODELS` (see [`crate::location_of_paths`]), the address of an MLflow
    /// server, or `databricks-uc:` and the address of a Databricks workspace, with the defaults of [`RegistryOptions::new`].
    ///
    /// # Errors
    /// As [`Registry::open_with`].
    pub fn open(location: &str) -> Result<Self, RegistryError> {
        Self::open_with(&RegistryOptions::new(location))
    }

    /// Opens a registry. For an MLflow server that does not respond, its cached listing is used, if there is one.
    ///
    /// # Errors
    /// [`RegistryError::Location`] for a location that is invalid or cannot be read, else the error of the server.
    pub fn open_with(options: &RegistryOptions) -> Result<Self, RegistryError> {
        let location = options.location.trim();
        let (source, location) = if is_server(location) {
            let server = MlflowRegistry::open(&RegistryOptions { location: location.to_owned(), ..options.clone() })?;
            let address = server.address().to_owned();
            (Source::Mlflow(Box::new(server)), address)
        } else {
            let location = location.to_owned();
            match open_local(&location) {
                Ok(local) => (Source::Local(local), location),
                Err(reason) => return Err(RegistryError::Location { location, reason }),
            }
        };
        Ok(Self { location, source, load_limit: options.load_limit, described: Mutex::default() })
    }

    /// The location, without a password.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// All models, by name.
    pub fn models(&self) -> Vec<ModelView> {
        match &self.source {
            Source::Local(local) => local.models(),
            Source::Mlflow(server) => server.models(),
        }
    }

    /// The model with this name.
    pub fn model(&self, name: &str) -> Option<ModelView> {
        match &self.source {
            Source::Local(local) => local.model(name),
            Source::Mlflow(server) => server.model(name),
        }
    }

    /// Lists these models of an MLflow server as well, from the next [`Registry::refresh`] on; a folder lists all of its
    /// models in any case.
    pub fn list_also(&self, models: &BTreeSet<String>) {
        if let Source::Mlflow(server) = &self.source {
            server.list_also(models);
        }
    }

    /// Whether the listing is up to date.
    pub fn status(&self) -> RegistryStatus {
        match &self.source {
            Source::Local(_) => RegistryStatus::default(),
            Source::Mlflow(server) => RegistryStatus { stale: server.stale() },
        }
    }

    /// Reads the listing again. A model that cannot be read keeps its last good listing, and the error is logged. While
    /// an MLflow server does not respond, all models keep their listing; see [`Registry::status`].
    ///
    /// # Errors
    /// [`RegistryError::Location`] when a folder cannot be read; the previous listing is kept.
    pub fn refresh(&self) -> Result<(), RegistryError> {
        // reading models needs much more memory than they keep, and mimalloc looks for memory that it can return to the
        // system only when something large is freed, a while later
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
        self.described.lock().unwrap_or_else(PoisonError::into_inner).retain(|(key, _), _| listed(key));
        Ok(())
    }

    /// Fetches the files of a version if they are remote, reads them and passes them to `open`. Blocks. In a folder
    /// registry, the digest is computed from the bytes that were read; it differs from the listed one if the files have
    /// changed since.
    ///
    /// `open` runs on a separate thread, whose heap is released with it: reading a model needs several times the memory
    /// that the model keeps. A panic in it is reported as a fault of the artefact.
    ///
    /// # Errors
    /// An unknown model or version, an error of the server, or [`RegistryError::Artefact`] when `open` fails.
    pub fn load<T: Send>(
        &self,
        name: &str,
        version: u32,
        open: impl FnOnce(&VersionFiles) -> Result<T, Fault> + Send,
    ) -> Result<T, RegistryError> {
        self.listed(name, version)?;
        self.read(name, version, open)
    }

    /// Describes a version without compiling its model. The files are read once; the result is cached by digest.
    ///
    /// # Errors
    /// As [`Registry::load`].
    pub fn describe(&self, name: &str, version: u32) -> Result<VersionMeta, RegistryError> {
        self.described(name, version, true)
    }

    /// As [`Registry::describe`], without the preprocessing artefact, which may be much larger than the rest.
    ///
    /// # Errors
    /// As [`Registry::load`].
    pub fn describe_alone(&self, name: &str, version: u32) -> Result<VersionMeta, RegistryError> {
        self.described(name, version, false)
    }

    fn described(&self, name: &str, version: u32, prepares: bool) -> Result<VersionMeta, RegistryError> {
        let listed = self.listed(name, version)?;
        let key = ((name.to_owned(), version, listed.digest), prepares);
        let known = self.described.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(meta) = known {
            return Ok(meta.listed(listed.stage, listed.output.as_deref()));
        }
        let meta = self.read_description(name, version, |files| VersionMeta::of(files, prepares))?;
        let key = ((name.to_owned(), version, meta.digest), prepares);
        self.described.lock().unwrap_or_else(PoisonError::into_inner).insert(key, meta.clone());
        Ok(meta.listed(listed.stage, listed.output.as_deref()))
    }

    /// Resolves `uri` to a model and a version number. An alias, stage or version that does not exist is an error;
    /// there is no fallback. The model need not be among those listed.
    ///
    /// # Errors
    /// [`RegistryError::Uri`] for a logged model, which has neither, and for an unknown alias or stage; otherwise as
    /// for [`Registry::load`].
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
            ModelUri::LoggedModel { .. } | ModelUri::Run { .. } => None,
        };
        let found = found.ok_or_else(|| match uri {
            ModelUri::Version { version, .. } => {
                RegistryError::UnknownVersion { model: name.to_owned(), version: *version }
            }
            _ => none("names no version of the model"),
        })?;
        Ok((name.to_owned(), found))
    }

    /// Loads the version that `uri` resolves to; see [`Registry::resolve_uri`]. A model that need not be registered has its
    /// ID or the last part of its path as its name, and version 0.
    ///
    /// # Errors
    /// As [`Registry::resolve_uri`] and [`Registry::load`].
    pub fn load_uri<T: Send>(
        &self,
        uri: &ModelUri,
        open: impl FnOnce(&VersionFiles) -> Result<T, Fault> + Send,
    ) -> Result<T, RegistryError> {
        if let Some(name) = uri.unregistered_name() {
            let budget = RegistryOptions::load_budget(self.load_limit, true);
            let files = self.server_of(uri)?.read_unregistered(uri, budget)?;
            return apart(name, || open(&files)).map_err(|fault| artefact(name, 0, fault));
        }
        let (name, version) = self.resolve_uri(uri)?;
        self.read(&name, version, open)
    }

    /// The tag `forebay.output` of a version. The model need not be among those listed.
    ///
    /// # Errors
    /// An unknown model or version, or an error of the server.
    pub fn output_tag(&self, name: &str, version: u32) -> Result<Option<String>, RegistryError> {
        match &self.source {
            Source::Local(_) => Ok(self.listed(name, version)?.output),
            Source::Mlflow(server) => server.output_tag(name, version),
        }
    }

    fn listed(&self, name: &str, version: u32) -> Result<VersionView, RegistryError> {
        let model = self.model(name).ok_or_else(|| RegistryError::UnknownModel { model: name.to_owned() })?;
        let found = model.version(version);
        found.cloned().ok_or_else(|| RegistryError::UnknownVersion { model: name.to_owned(), version })
    }
}

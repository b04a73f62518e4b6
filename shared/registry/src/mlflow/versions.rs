//! The files of a version, from the cache on disk or from the server.

use std::time::Duration;

use forebay_artefact::{LoadBudget, VersionFiles};

use super::MlflowRegistry;
use super::artifacts::ArtifactLocation;
use super::files::{self, ArtifactFiles};
use super::listing::{self, ListedModel, VersionSource};
use crate::cache::CachedVersionKey;
use crate::{ModelUri, RegistryError};

impl MlflowRegistry {
    /// Returns the files of a version.
    pub(crate) fn read(&self, name: &str, version: u32, budget: LoadBudget) -> Result<VersionFiles, RegistryError> {
        let origin = self.origin(name, version)?;
        let digest = origin.identity(name, version);
        let files = self.files(name, version, &digest, &budget, || {
            let place = ArtifactLocation::of_version(&self.client, name, version)?;
            files::fetch(&self.client, &place, origin.preprocessing.as_deref(), &budget)
        })?;
        Ok(VersionFiles::fetched(name, version, digest, files, budget))
    }

    /// Returns what describes a version: `MLmodel` and the preprocessing artefact. All other files are empty. They are cached
    /// apart from the whole version, which is used where it is all that there is.
    pub(crate) fn read_description(
        &self,
        name: &str,
        version: u32,
        budget: LoadBudget,
    ) -> Result<VersionFiles, RegistryError> {
        let origin = self.origin(name, version)?;
        let digest = origin.identity(name, version);
        let part = blake3::derive_key("forebay 2026 description of a version", &digest);
        let described = self.files(name, version, &part, &budget, || {
            let place = ArtifactLocation::of_version(&self.client, name, version)?;
            files::fetch_description(&self.client, &place, origin.preprocessing.as_deref(), &budget)
        });
        let files = match described {
            Ok(files) => files,
            Err(error) => {
                let key = CachedVersionKey { model: name, version, digest: &digest };
                let whole = self.cache.as_ref().and_then(|cache| cache.files(&key, budget.left()).ok()?);
                whole.ok_or(error)?
            }
        };
        Ok(VersionFiles::fetched(name, version, digest, files, budget))
    }

    /// Returns the files of a model that need not be registered: a logged model, or one of a run.
    pub(crate) fn read_unregistered(&self, uri: &ModelUri, budget: LoadBudget) -> Result<VersionFiles, RegistryError> {
        let files = self.unregistered_files(uri, &budget)?;
        let digest = self.identity_of(uri);
        Ok(VersionFiles::fetched(uri.unregistered_name().unwrap_or_default(), 0, digest, files, budget))
    }

    /// As [`MlflowRegistry::read_unregistered`], without the budget. A logged model never changes and is cached; a run may
    /// log another model under the name of one, so that its models are read each time.
    pub(crate) fn unregistered_files(
        &self,
        uri: &ModelUri,
        budget: &LoadBudget,
    ) -> Result<ArtifactFiles, RegistryError> {
        let fetch = || {
            let place = ArtifactLocation::of_uri(&self.client, &uri.to_string())?;
            let none = || RegistryError::UnknownModel { model: uri.to_string() };
            files::fetch(&self.client, &place.ok_or_else(none)?, None, budget)
        };
        match uri {
            ModelUri::LoggedModel { id } => self.files(id, 0, &self.identity_of(uri), budget, fetch),
            _ => fetch(),
        }
    }

    /// What identifies a model that need not be registered.
    pub(crate) fn identity_of(&self, uri: &ModelUri) -> [u8; 32] {
        let model_id = if let ModelUri::LoggedModel { id } = uri { id.clone() } else { String::new() };
        let origin = VersionSource { source: uri.to_string(), model_id, ..VersionSource::default() };
        origin.identity(uri.unregistered_name().unwrap_or_default(), 0)
    }

    /// Returns the tag `forebay.output` of a version as the server has it now, or as it was listed last while the server does
    /// not respond.
    pub(crate) fn output_tag(&self, name: &str, version: u32) -> Result<Option<String>, RegistryError> {
        let listed = self.listing.load().get(name).and_then(|listed| listed.versions.get(&version).cloned());
        let origin = match listed {
            Some(origin) => origin,
            None => match listing::origin(&self.client, name, version) {
                Err(RegistryError::Unreachable { .. }) => self.origin(name, version)?,
                found => found?,
            },
        };
        Ok(origin.output)
    }

    fn origin(&self, name: &str, version: u32) -> Result<VersionSource, RegistryError> {
        let listed = self.listing.load().get(name).cloned();
        let kept = || self.cache.as_ref().and_then(|cache| cache.listing(name));
        let of = |listed: &ListedModel| listed.versions.get(&version).cloned();
        let known = listed.as_deref().and_then(of).or_else(|| kept().as_ref().and_then(of));
        match known {
            Some(origin) => Ok(origin),
            None => listing::origin(&self.client, name, version),
        }
    }

    /// The files of a version; what is fetched is taken from `budget`, and what is cached as well.
    fn files(
        &self,
        model: &str,
        version: u32,
        digest: &[u8; 32],
        budget: &LoadBudget,
        fetch: impl FnOnce() -> Result<ArtifactFiles, RegistryError>,
    ) -> Result<ArtifactFiles, RegistryError> {
        let Some(cache) = &self.cache else { return fetch() };
        let key = CachedVersionKey { model, version, digest };
        let cached = || {
            let files = cache.files(&key, budget.left())?;
            if let Some(files) = &files {
                let size = files.values().map(|bytes| bytes.len() as u64).sum();
                budget.take(size).map_err(|error| forebay_artefact::Fault::new("", error.to_string()))?;
            }
            Ok::<_, forebay_artefact::Fault>(files)
        };
        match cached() {
            Ok(Some(files)) => return Ok(files),
            Ok(None) => {}
            Err(fault) => {
                tracing::warn!(model, version, %fault, "cached model files are not usable, fetching them again")
            }
        }
        let _lock = cache.lock(&key, Duration::from_secs(30));
        if let Ok(Some(files)) = cached() {
            return Ok(files);
        }
        let files = fetch()?;
        if let Err(error) = cache.store(&key, &files) {
            self.warn_cache(&error);
        }
        Ok(files)
    }
}

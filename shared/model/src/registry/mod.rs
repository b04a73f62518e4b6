//! A registry of model versions: the sample embedded in the binary, or a folder.
//!
//! Layout of a folder registry (`file:PATH`):
//!
//! ```text
//! ROOT/<model>/registered_model.yaml     aliases and stages; optional
//! ROOT/<model>/<version>/MLmodel         MLflow's description: flavor, file, signature, example
//! ROOT/<model>/<version>/model.skops     the file MLmodel names (model.skops, model.pkl, model.bpk)
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

mod error;
mod listing;
mod store;
mod version;
mod view;
mod watch;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

pub use error::RegistryError;
pub(crate) use store::Store;
pub use version::{LoadedVersion, VersionMeta};
pub use view::{ModelView, Resolution, VersionView};
pub use watch::{RegistryWatch, Trouble};

use crate::folder;
use listing::Listing;

/// Model, version, digest.
type ContentKey = (String, u32, [u8; 32]);

/// Access to the models of one location. Cheap to share; listing and loading are separate, and the listing
/// stays what it was at the last `open` or `refresh`.
#[derive(Debug)]
pub struct Registry {
    location: String,
    store: Store,
    listing: ArcSwap<Listing>,
    described: Mutex<HashMap<ContentKey, VersionMeta>>,
}

impl Registry {
    /// Opens `sample` (embedded) or `file:PATH`.
    ///
    /// # Errors
    /// [`RegistryError::Location`] for anything else and for a path that is no folder.
    pub fn open(location: &str) -> Result<Self, RegistryError> {
        let refused =
            |reason: &str| RegistryError::Location { location: location.to_owned(), reason: reason.to_owned() };
        let store = if location == "sample" {
            Store::Embedded(crate::sample::FILES)
        } else if let Some(path) = location.strip_prefix("file:") {
            let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
            if !path.is_dir() {
                return Err(refused("no such folder"));
            }
            Store::Folder(path)
        } else if location.starts_with("http://") || location.starts_with("https://") {
            return Err(refused("an MLflow server over REST is not supported yet; use file:PATH or sample"));
        } else {
            return Err(refused("expected \"sample\" or file:PATH"));
        };
        let listing = Listing::scan(&store, None).map_err(|f| refused(&f.to_string()))?;
        Ok(Self {
            location: location.to_owned(),
            store,
            listing: ArcSwap::from_pointee(listing),
            described: Mutex::default(),
        })
    }

    /// The location as given to [`Registry::open`].
    pub fn location(&self) -> &str {
        &self.location
    }

    /// Every model, by name.
    pub fn models(&self) -> Vec<ModelView> {
        self.listing.load().models.values().map(|m| m.view.clone()).collect()
    }

    /// One model.
    pub fn model(&self, name: &str) -> Option<ModelView> {
        self.listing.load().models.get(name).map(|m| m.view.clone())
    }

    /// Looks again at what the registry holds. Unreadable models keep their last good listing and are logged.
    ///
    /// # Errors
    /// [`RegistryError::Location`] when the registry itself cannot be read; the listing stays as it was.
    pub fn refresh(&self) -> Result<(), RegistryError> {
        // reading models needs much more than they keep, and mimalloc looks for what it can give back to the system only
        // when something large is freed, a while later
        drop(std::hint::black_box(Vec::<u8>::with_capacity(8 << 20)));
        let before = self.listing.load_full();
        let listing = Listing::scan(&self.store, Some(&before))
            .map_err(|f| RegistryError::Location { location: self.location.clone(), reason: f.to_string() })?;
        let listed = |(name, version, digest): &ContentKey| {
            let view = listing.models.get(name).and_then(|m| m.view.version(*version));
            view.is_some_and(|v| v.digest == *digest)
        };
        self.described.lock().unwrap_or_else(PoisonError::into_inner).retain(|key, _| listed(key));
        self.listing.store(Arc::new(listing));
        Ok(())
    }

    /// Loads a version: reads, validates and compiles it. Milliseconds to tens of milliseconds; blocking.
    /// Its digest is that of the bytes loaded, which differs from the listed one when the files changed since.
    ///
    /// # Errors
    /// Unknown model or version, or [`RegistryError::Artefact`] naming file and place.
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

    fn listed(&self, name: &str, version: u32) -> Result<VersionView, RegistryError> {
        let listing = self.listing.load();
        let model = listing.models.get(name).ok_or_else(|| RegistryError::UnknownModel { model: name.to_owned() })?;
        let found = model.view.version(version);
        found.cloned().ok_or_else(|| RegistryError::UnknownVersion { model: name.to_owned(), version })
    }

    fn load_listed(&self, name: &str, version: u32) -> Result<(LoadedVersion, VersionMeta), RegistryError> {
        let listed = self.listed(name, version)?;
        let path = format!("{name}/{version}");
        // on a thread of its own: with it goes its heap, and reading needs several times what the model keeps
        let read = std::thread::scope(|scope| scope.spawn(|| folder::open(&self.store, &path)).join());
        let read = read.unwrap_or_else(|_| Err(crate::fault::Fault::new(&path, "reading it failed unexpectedly")));
        let opened = read.map_err(|fault| RegistryError::Artefact { model: name.to_owned(), version, fault })?;
        let (loaded, meta) = opened.into_version(name, version, listed.stage);
        let key = (name.to_owned(), version, loaded.digest);
        self.described.lock().unwrap_or_else(PoisonError::into_inner).insert(key, meta.clone());
        Ok((loaded, meta))
    }
}

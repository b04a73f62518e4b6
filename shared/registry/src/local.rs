//! Registries of local files: the embedded sample, and a folder.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use forebay_artefact::{Fault, FileStamp, LoadBudget, MlModel, ModelPath, Store, VersionFiles, yaml};
use serde::Deserialize;

use crate::mlflow::OUTPUT_TAG;
use crate::{ModelView, VersionView};

/// A store of files and its listing, as of the last read.
#[derive(Debug)]
pub(super) struct LocalRegistry {
    store: Store,
    listing: ArcSwap<Listing>,
}

impl LocalRegistry {
    /// The sample embedded in the binary.
    pub(super) fn sample() -> Result<Self, Fault> {
        Self::of(Store::Embedded(crate::sample::FILES))
    }

    /// The folder at `path`.
    pub(super) fn folder(path: PathBuf) -> Result<Self, Fault> {
        if !path.is_dir() {
            return Err(Fault::new(path.display().to_string(), "no such folder"));
        }
        Self::of(Store::Folder(path))
    }

    /// The models at these paths, each as version 1 of its name.
    pub(super) fn paths(models: Vec<ModelPath>) -> Result<Self, Fault> {
        for ModelPath { name, path } in &models {
            if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']) {
                return Err(Fault::new(path.display().to_string(), format!("{name:?} cannot be the name of a model")));
            }
            if !path.exists() {
                return Err(Fault::new(path.display().to_string(), "no such file or folder"));
            }
        }
        Self::of(Store::Paths(models.into()))
    }

    fn of(store: Store) -> Result<Self, Fault> {
        let listing = Listing::scan(&store, None)?;
        Ok(Self { store, listing: ArcSwap::from_pointee(listing) })
    }

    pub(super) fn models(&self) -> Vec<ModelView> {
        self.listing.load().models.values().map(|model| model.view.clone()).collect()
    }

    pub(super) fn model(&self, name: &str) -> Option<ModelView> {
        self.listing.load().models.get(name).map(|model| model.view.clone())
    }

    /// Reads the listing again; on an error the previous listing is kept.
    pub(super) fn refresh(&self) -> Result<(), Fault> {
        let before = self.listing.load_full();
        self.listing.store(Arc::new(Listing::scan(&self.store, Some(&before))?));
        Ok(())
    }

    /// Reads the files of a version.
    pub(super) fn read(&self, name: &str, version: u32, budget: LoadBudget) -> Result<VersionFiles, Fault> {
        VersionFiles::read(&self.store, &format!("{name}/{version}"), name, version, budget)
    }

    /// Reads what describes a version, without its model.
    pub(super) fn read_description(&self, name: &str, version: u32, budget: LoadBudget) -> Result<VersionFiles, Fault> {
        VersionFiles::read_description(&self.store, &format!("{name}/{version}"), name, version, budget)
    }
}

/// A snapshot of all models of a registry.
#[derive(Debug, Default)]
struct Listing {
    models: BTreeMap<String, FolderModel>,
}

/// A model's view and the files that it was built from, so that unchanged files are not read again.
#[derive(Debug)]
struct FolderModel {
    view: ModelView,
    stamps: BTreeMap<u32, Vec<FileStamp>>,
}

/// The content of `registered_model.yaml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegisteredModelFile {
    #[serde(default)]
    aliases: BTreeMap<String, u32>,
    #[serde(default)]
    stages: BTreeMap<u32, String>,
    /// Tags by version.
    #[serde(default)]
    tags: BTreeMap<u32, BTreeMap<String, String>>,
}

impl RegisteredModelFile {
    /// Errors quote nothing: the file may be any file of the machine that got this name.
    fn parse(place: &str, bytes: &[u8]) -> Result<Self, Fault> {
        let expected = "expected aliases: {NAME: VERSION} and stages: {VERSION: NAME}";
        match yaml::read(place, bytes)? {
            serde_yaml_ng::Value::Null => Ok(Self::default()),
            value => serde_yaml_ng::from_value(value).map_err(|_| Fault::new(place, expected)),
        }
    }
}

impl Listing {
    /// Lists the models of `store`; a model that cannot be read keeps its entry from `before`, if there is one.
    fn scan(store: &Store, before: Option<&Self>) -> Result<Self, Fault> {
        let mut models = BTreeMap::new();
        for name in store.folders("")?.into_iter().filter(|n| !n.starts_with('.')) {
            let old = before.and_then(|b| b.models.get(&name));
            match FolderModel::scan(store, &name, old) {
                Ok(model) => {
                    models.insert(name, model);
                }
                Err(fault) => {
                    tracing::warn!(model = name, %fault, "model cannot be listed");
                    if let Some(old) = old {
                        models.insert(name, FolderModel { view: old.view.clone(), stamps: old.stamps.clone() });
                    }
                }
            }
        }
        Ok(Self { models })
    }
}

impl FolderModel {
    fn scan(store: &Store, name: &str, old: Option<&Self>) -> Result<Self, Fault> {
        let registered_path = format!("{name}/registered_model.yaml");
        let registered = match store.read(&registered_path, yaml::MAX_BYTES as u64)? {
            Some(bytes) => RegisteredModelFile::parse(&registered_path, &bytes)?,
            None => RegisteredModelFile::default(),
        };
        let (mut versions, mut stamps) = (Vec::new(), BTreeMap::new());
        let mut newest = store.folder_modified(name).max(store.modified(&registered_path));
        for version in store.folders(name)?.iter().filter_map(|f| f.parse::<u32>().ok().filter(|n| n.to_string() == *f))
        {
            let path = format!("{name}/{version}");
            let content = match store.files(&path) {
                Ok(now) => {
                    newest = now.iter().fold(newest, |newest, file| newest.max(file.modified));
                    if !now.iter().any(|f| f.path == "MLmodel") {
                        tracing::warn!(model = name, version, "version has no MLmodel file, skipped");
                        continue;
                    }
                    Self::content(store, name, version, now, old)
                }
                // the versions beside it are not to be hurt, and what was read of it is as good as before
                Err(fault) => {
                    let known = old.and_then(|old| old.known(version));
                    tracing::warn!(model = name, version, kept = known.is_some(), %fault, "version cannot be listed");
                    known
                }
            };
            let Some((flavor, digest, files)) = content else { continue };
            let output = registered.tags.get(&version).and_then(|tags| tags.get(OUTPUT_TAG)).cloned();
            let stage = registered.stages.get(&version).cloned();
            versions.push(VersionView { version, stage, flavor, digest, output });
            stamps.insert(version, files);
        }
        versions.sort_by_key(|v| v.version);
        let mut view =
            ModelView { name: name.to_owned(), generation: newest.max(1), versions, aliases: registered.aliases };
        if let Some(old) = old {
            view.generation = view.generation.max(old.view.generation);
            // a change must increase it even if the file times do not increase
            if view != old.view && view.generation == old.view.generation {
                view.generation += 1;
            }
        }
        Ok(Self { view, stamps })
    }

    /// The flavor and the digest of a version, and the files that they are of.
    fn known(&self, version: u32) -> Option<(String, [u8; 32], Vec<FileStamp>)> {
        let view = self.view.version(version)?;
        Some((view.flavor.clone(), view.digest, self.stamps.get(&version)?.clone()))
    }

    /// The flavor and the digest of a version with the files `now`, and the files that they are of. A version that is being
    /// written, or changes while it is read, is what it was until the next listing; `None` if it was nothing.
    fn content(
        store: &Store,
        name: &str,
        version: u32,
        now: Vec<FileStamp>,
        old: Option<&Self>,
    ) -> Option<(String, [u8; 32], Vec<FileStamp>)> {
        let known = old.and_then(|old| old.known(version));
        if known.as_ref().is_some_and(|(_, _, files)| *files == now || is_being_written(&now, files)) {
            return known;
        }
        let path = format!("{name}/{version}");
        match VersionFiles::digest_of(store, &path) {
            Ok(digest) => Some((flavor(store, &path), digest, now)),
            Err(fault) => {
                tracing::warn!(model = name, version, %fault, "version cannot be read");
                known
            }
        }
    }
}

/// Whether a file of a version has changed since `known`, so recently that its writer may not be done. The next listing shows
/// what has become of it.
fn is_being_written(files: &[FileStamp], known: &[FileStamp]) -> bool {
    const STILL: u64 = 1_000;
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    files.iter().any(|file| file.modified.abs_diff(now) < STILL && !known.contains(file))
}

fn flavor(store: &Store, path: &str) -> String {
    let parsed = match store.read(&format!("{path}/MLmodel"), yaml::MAX_BYTES as u64) {
        Ok(Some(bytes)) => MlModel::parse(&bytes),
        Ok(None) => return "unknown".to_owned(),
        Err(fault) => Err(fault),
    };
    parsed.map_or_else(
        |fault| {
            tracing::warn!(path, %fault, "version cannot be described");
            "unknown".to_owned()
        },
        |m| m.flavor,
    )
}

//! Reports to the model directory: the registry as this replica has read it, and the state of its versions.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use forebay_bus::{ModelDirectory, SeenGenerations};
use forebay_contract::{LoadState, ModelView as DirectoryView, VersionState, ViewVersion};
use forebay_registry::{ModelView, VersionView};

use crate::loader_commands::VersionName;
use crate::versions::{ModelVersions, VersionSlot, Versions};

/// What requests to the repository said of models.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Overrides {
    /// Whether the model directory has been read to its end.
    pub complete: bool,
    /// By model, whether the newest request loaded or unloaded it.
    pub loaded: BTreeMap<String, bool>,
}

/// Keeps the model directory up to date with what the loader knows.
#[derive(Debug)]
pub(crate) struct Reporter {
    directory: ModelDirectory,
    /// The address of the registry, without credentials.
    registry: String,
    /// Versions that are being loaded or will be as a result of the current read.
    loading: BTreeSet<VersionName>,
    /// The views of the last read of the registry.
    listed: Vec<ModelView>,
    /// The views of the directory that have been read from the registry here as well.
    seen: SeenGenerations,
}

impl Reporter {
    pub(crate) fn new(directory: ModelDirectory, registry: String) -> Self {
        Self { directory, registry, loading: BTreeSet::new(), listed: Vec::new(), seen: SeenGenerations::default() }
    }

    /// Publishes the views that have changed since the last read. Unchanged views are not published again: replicas
    /// whose registries lag behind one another would overwrite each other's views forever.
    pub(crate) fn views(&mut self, views: &[ModelView]) {
        for view in views.iter().filter(|view| !self.listed.contains(view)) {
            let generation = self.directory.publish_view(directory_view(view, &self.registry));
            self.seen.saw(&view.name, generation);
        }
        for gone in self.listed.iter().filter(|old| !views.iter().any(|view| view.name == old.name)) {
            self.directory.withdraw_view(&gone.name);
        }
        self.listed = views.to_vec();
    }

    /// Whether another replica has published a view that is newer than those seen so far. True once for each view.
    pub(crate) fn has_news(&mut self) -> bool {
        self.seen.has_news(&self.directory)
    }

    /// Whether a request unloaded the model.
    pub(crate) fn is_unloaded(&self, model: &str) -> bool {
        self.directory.is_unloaded(model)
    }

    /// The models that requests loaded or unloaded, and whether those of all replicas are known.
    pub(crate) fn overrides(&self) -> Overrides {
        Overrides { complete: self.directory.is_caught_up(), loaded: self.directory.overrides() }
    }

    /// Notes versions that will be loaded.
    pub(crate) fn loading(&mut self, model: &str, numbers: impl IntoIterator<Item = u32>) {
        self.loading.extend(numbers.into_iter().map(|number| (model.to_owned(), number)));
    }

    /// Notes that a version has been loaded, or could not be.
    pub(crate) fn loaded(&mut self, model: &str, number: u32) {
        self.loading.remove(&(model.to_owned(), number));
    }

    /// Reports the state of the versions of every model.
    pub(crate) fn states(&self, versions: &Versions) {
        let snapshot = versions.snapshot();
        // a failure of a model that is unloaded says nothing of its next load
        let has_versions = |model: &str, versions: &ModelVersions| {
            !self.is_unloaded(model) || versions.slots.values().any(|slot| matches!(slot, VersionSlot::Ready(_)))
        };
        for (model, model_versions) in &snapshot.models {
            if !has_versions(model, model_versions) {
                self.directory.report(model, None, Vec::new());
                continue;
            }
            self.directory.report(model, model_versions.production, self.of(model, model_versions));
        }
        let unknown = self.loading.iter().filter(|(model, _)| !snapshot.models.contains_key(model));
        for model in unknown.map(|(model, _)| model).collect::<BTreeSet<_>>() {
            self.directory.report(model, None, self.of(model, &ModelVersions::default()));
        }
    }

    fn of(&self, model: &str, model_versions: &ModelVersions) -> Vec<VersionState> {
        let now = Instant::now();
        let mut states: BTreeMap<u32, VersionState> = BTreeMap::new();
        for (number, slot) in &model_versions.slots {
            if let VersionSlot::Ready(ready) = slot {
                self.directory.describe(model, *number, ready.row_format());
            }
            states.insert(*number, state(*number, slot, now));
        }
        for (_, number) in self.loading.iter().filter(|(of, _)| of == model) {
            let loading =
                VersionState { version: *number, state: LoadState::Loading.into(), ..VersionState::default() };
            states.insert(*number, loading);
        }
        states.into_values().collect()
    }
}

fn state(version: u32, slot: &VersionSlot, now: Instant) -> VersionState {
    match slot {
        VersionSlot::Ready(ready) => VersionState {
            version,
            state: LoadState::Ready.into(),
            digest: ready.digest().to_vec().into(),
            why: String::new(),
            breaker: ready.breaker_state(now).into(),
        },
        VersionSlot::Failed { why, .. } => {
            VersionState { version, state: LoadState::Failed.into(), why: why.clone(), ..VersionState::default() }
        }
    }
}

fn directory_view(view: &ModelView, registry: &str) -> DirectoryView {
    let version = |listed: &VersionView| ViewVersion {
        version: listed.version,
        stage: listed.stage.clone().unwrap_or_default(),
        flavor: listed.flavor.clone(),
        digest: listed.digest.to_vec().into(),
    };
    DirectoryView {
        model: view.name.clone(),
        generation: 0,
        versions: view.versions.iter().map(version).collect(),
        aliases: view.aliases.clone(),
        registry: registry.to_owned(),
    }
}

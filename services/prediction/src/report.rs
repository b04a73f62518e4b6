//! What this replica tells the model directory: the registry as it was read here, and what it has of every model.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use forebay_bus::ModelDirectory;
use forebay_contract::{LoadState, ModelView as BoardView, VersionState, ViewVersion};
use forebay_model::{ModelView, VersionView};

use crate::versions::{Shelf, Slot, VersionName, Versions};

/// Keeps the model directory equal to what the loader knows.
#[derive(Debug)]
pub(crate) struct Reporter {
    directory: ModelDirectory,
    /// Where views come from, without credentials.
    registry: String,
    /// Versions that are being loaded, or will be in this look.
    loading: BTreeSet<VersionName>,
    /// The views of the last look.
    listed: Vec<ModelView>,
    /// Generation up to which the model directory's view of a model is known here.
    heard: HashMap<String, u64>,
}

impl Reporter {
    pub(crate) fn new(directory: ModelDirectory, registry: String) -> Self {
        Self { directory, registry, loading: BTreeSet::new(), listed: Vec::new(), heard: HashMap::new() }
    }

    /// Puts what the registry lists on the model directory where it is new here. What is not new is not repeated: a replica whose
    /// registry lags would argue with the others without end.
    pub(crate) fn views(&mut self, views: &[ModelView]) {
        for view in views.iter().filter(|view| !self.listed.contains(view)) {
            let generation = self.directory.publish_view(directory_view(view, &self.registry));
            self.heard.insert(view.name.clone(), generation);
        }
        for gone in self.listed.iter().filter(|old| !views.iter().any(|view| view.name == old.name)) {
            self.directory.withdraw_view(&gone.name);
        }
        self.listed = views.to_vec();
    }

    /// Whether another replica has read something newer than what is known here; asked once for each view.
    pub(crate) fn heard_news(&mut self) -> bool {
        let mut news = false;
        for view in self.directory.views() {
            let known = self.heard.entry(view.model.clone()).or_insert(0);
            news |= view.generation > *known;
            *known = view.generation.max(*known);
        }
        news
    }

    /// These versions will be loaded.
    pub(crate) fn loading(&mut self, model: &str, numbers: impl IntoIterator<Item = u32>) {
        self.loading.extend(numbers.into_iter().map(|number| (model.to_owned(), number)));
    }

    /// This one is loaded, or cannot be.
    pub(crate) fn loaded(&mut self, model: &str, number: u32) {
        self.loading.remove(&(model.to_owned(), number));
    }

    /// Tells what this replica has of every model.
    pub(crate) fn states(&self, versions: &Versions) {
        let table = versions.table();
        for (model, shelf) in &table.models {
            self.directory.report(model, shelf.production, self.of(model, shelf));
        }
        let unknown = self.loading.iter().filter(|(model, _)| !table.models.contains_key(model));
        for model in unknown.map(|(model, _)| model).collect::<BTreeSet<_>>() {
            self.directory.report(model, None, self.of(model, &Shelf::default()));
        }
    }

    fn of(&self, model: &str, shelf: &Shelf) -> Vec<VersionState> {
        let now = Instant::now();
        let mut states: BTreeMap<u32, VersionState> = BTreeMap::new();
        for (number, slot) in &shelf.slots {
            if let Slot::Ready(ready) = slot {
                let (features, accepts_missing) = ready.row_format();
                self.directory.describe(model, *number, features, accepts_missing);
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

fn state(version: u32, slot: &Slot, now: Instant) -> VersionState {
    match slot {
        Slot::Ready(ready) => VersionState {
            version,
            state: LoadState::Ready.into(),
            digest: ready.digest().to_vec().into(),
            why: String::new(),
            breaker: ready.breaker_state(now).into(),
        },
        Slot::Failed { why, .. } => {
            VersionState { version, state: LoadState::Failed.into(), why: why.clone(), ..VersionState::default() }
        }
    }
}

fn directory_view(view: &ModelView, registry: &str) -> BoardView {
    let version = |listed: &VersionView| ViewVersion {
        version: listed.version,
        stage: listed.stage.clone().unwrap_or_default(),
        flavor: listed.flavor.clone(),
        digest: listed.digest.to_vec().into(),
    };
    BoardView {
        model: view.name.clone(),
        generation: 0,
        versions: view.versions.iter().map(version).collect(),
        aliases: view.aliases.clone(),
        registry: registry.to_owned(),
    }
}

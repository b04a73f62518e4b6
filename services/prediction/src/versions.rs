//! The versions that are loaded, and the chain of those that may answer for one another. Readers take no lock; the loader
//! is the only writer.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use forebay_model::ModelView;
use parking_lot::Mutex;

use crate::version::Version;

/// A version that could not be loaded is tried again after so long.
pub(crate) const RELOAD: Duration = Duration::from_secs(30);

/// A model and the number of one of its versions.
pub(crate) type VersionName = (String, u32);

/// What the loader is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Load this version.
    Version(VersionName),
    /// Look at the registry: somebody knows that it has changed.
    Look,
    /// Look at the model directory: it says something new.
    ModelDirectory,
    /// Tell the model directory how things stand here.
    Tell,
}

/// Rung by a version when its breaker moves.
#[derive(Debug, Clone)]
pub(crate) struct Bell(Sender<Wish>);

impl Bell {
    pub(crate) fn ring(&self) {
        // without a loader the process is on its way out
        drop(self.0.send(Wish::Tell));
    }
}

/// What is known of a version.
#[derive(Debug, Clone)]
pub enum Found {
    /// It can answer.
    Ready(Arc<Version>),
    /// It was not asked for before and is being loaded.
    Loading,
    /// It cannot be loaded.
    Failed(String),
}

/// Shared between the stage and the loader.
#[derive(Debug)]
pub struct Versions {
    table: ArcSwap<Table>,
    /// Asked for and not answered by the loader yet.
    wanted: Mutex<HashSet<VersionName>>,
    loader: Sender<Wish>,
}

/// Every model at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub models: HashMap<String, Shelf>,
}

/// One model.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shelf {
    /// The loaded version that answers for those that cannot.
    pub production: Option<u32>,
    /// The one that did so before.
    pub previous: Option<u32>,
    /// What the registry said when it was last read.
    pub view: Option<Arc<ModelView>>,
    pub slots: BTreeMap<u32, Slot>,
}

/// One version.
#[derive(Debug, Clone)]
pub(crate) enum Slot {
    Ready(Arc<Version>),
    Failed { digest: Option<[u8; 32]>, at: Instant, why: String },
}

impl Versions {
    /// Nothing loaded; what is asked for goes to `loader`.
    pub(crate) fn new(loader: Sender<Wish>) -> Self {
        Self { table: ArcSwap::default(), wanted: Mutex::default(), loader }
    }

    /// What is known of a version; asks the loader for one it has not seen.
    pub fn find(&self, model: &str, version: u32) -> Found {
        match self.table.load().slot(model, version) {
            Some(Slot::Ready(version)) => return Found::Ready(Arc::clone(version)),
            Some(Slot::Failed { at, why, .. }) if at.elapsed() < RELOAD => return Found::Failed(why.clone()),
            Some(Slot::Failed { .. }) | None => {}
        }
        let name = (model.to_owned(), version);
        if self.wanted.lock().insert(name.clone()) && self.loader.send(Wish::Version(name)).is_err() {
            return Found::Failed("nothing loads versions any more".to_owned());
        }
        Found::Loading
    }

    /// Who answers when `version` cannot: Production, then the one before it.
    pub fn chain(&self, model: &str, version: u32) -> Vec<Arc<Version>> {
        let table = self.table.load();
        let Some(shelf) = table.models.get(model) else { return Vec::new() };
        let mut chain: Vec<Arc<Version>> = Vec::new();
        for number in [shelf.production, shelf.previous_good()].into_iter().flatten() {
            if let Some(Slot::Ready(other)) = shelf.slots.get(&number)
                && number != version
                && chain.iter().all(|earlier| earlier.number() != number)
            {
                chain.push(Arc::clone(other));
            }
        }
        chain
    }

    /// The version that a stage, an alias or `latest` means now.
    pub(crate) fn named(&self, model: &str, name: &str) -> Option<u32> {
        let table = self.table.load();
        let found = table.models.get(model)?.view.as_ref()?.resolve(Some(name)).ok()?;
        found.exact.then_some(found.version)
    }

    /// Asks the loader for something.
    pub(crate) fn wish(&self, wish: Wish) {
        // without a loader the process is on its way out
        drop(self.loader.send(wish));
    }

    /// What versions of these get.
    pub(crate) fn bell(&self) -> Bell {
        Bell(self.loader.clone())
    }

    /// The table in use.
    pub(crate) fn table(&self) -> Arc<Table> {
        self.table.load_full()
    }

    /// Replaces the table; calls under way keep the versions they have.
    pub(crate) fn replace(&self, table: Table) {
        self.table.store(Arc::new(table));
    }

    /// The loader is done with a version.
    pub(crate) fn answered(&self, name: &VersionName) {
        self.wanted.lock().remove(name);
    }
}

impl Table {
    /// What is known of a version.
    pub(crate) fn slot(&self, model: &str, version: u32) -> Option<&Slot> {
        self.models.get(model)?.slots.get(&version)
    }

    /// Whether a version can answer.
    pub(crate) fn is_ready(&self, model: &str, version: u32) -> bool {
        matches!(self.slot(model, version), Some(Slot::Ready(_)))
    }
}

impl Shelf {
    /// The version before Production in this process's life, else the nearest older one, else the newest other one.
    fn previous_good(&self) -> Option<u32> {
        let ready = |number: &u32| matches!(self.slots.get(number), Some(Slot::Ready(_)));
        let production = self.production.unwrap_or(u32::MAX);
        let older = || self.slots.range(..production).rev().map(|(number, _)| *number).find(ready);
        let other = || self.slots.keys().rev().copied().filter(|number| *number != production).find(ready);
        self.previous.filter(|number| *number != production).filter(ready).or_else(older).or_else(other)
    }

    /// Makes `number` the one that answers for others.
    pub(crate) fn promote(&mut self, number: u32) {
        if self.production != Some(number) {
            self.previous = self.production.replace(number);
        }
    }
}

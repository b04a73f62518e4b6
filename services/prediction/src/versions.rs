//! The loaded versions of every model, and the order in which they stand in for one another. Readers take no lock; the
//! loader is the only writer.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Error;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use forebay_registry::ModelView;
use forebay_runtime::prometheus_client::collector::Collector;
use forebay_runtime::prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use forebay_runtime::prometheus_client::metrics::MetricType;
use forebay_runtime::prometheus_client::metrics::gauge::ConstGauge;
use parking_lot::Mutex;

use crate::loader_commands::{LoaderCommand, StateNotifier, VersionName};
use crate::version::Version;

/// Time after which a version that could not be loaded is tried again.
pub(crate) const RELOAD: Duration = Duration::from_secs(30);

/// What a lookup of a version finds.
#[derive(Debug, Clone)]
pub enum VersionLookup {
    /// The version can answer.
    Ready(Arc<Version>),
    /// The loader has been requested to load it.
    Loading,
    /// It cannot be loaded; the text says why.
    Failed(String),
}

impl VersionLookup {
    /// The version, or why it cannot answer.
    pub(crate) fn version(self) -> Result<Arc<Version>, String> {
        match self {
            Self::Ready(version) => Ok(version),
            Self::Loading => Err("is still being loaded".to_owned()),
            Self::Failed(why) => Err(why),
        }
    }
}

/// The versions of every model, shared by the stage and the loader.
#[derive(Debug)]
pub struct Versions {
    snapshot: ArcSwap<VersionsSnapshot>,
    /// Versions that the loader has been requested to load and has not tried yet.
    requested: Mutex<HashSet<VersionName>>,
    loader: Sender<LoaderCommand>,
}

/// Every model and its versions at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct VersionsSnapshot {
    pub models: HashMap<String, ModelVersions>,
}

/// The versions of one model.
#[derive(Debug, Clone, Default)]
pub(crate) struct ModelVersions {
    /// The loaded version that answers where another one cannot.
    pub production: Option<u32>,
    /// The one that was production before it.
    pub previous: Option<u32>,
    /// The model as the registry listed it when it was last read.
    pub view: Option<Arc<ModelView>>,
    pub slots: BTreeMap<u32, VersionSlot>,
}

/// What has become of one version.
#[derive(Debug, Clone)]
pub(crate) enum VersionSlot {
    /// It is loaded.
    Ready(Arc<Version>),
    /// It could not be loaded. `digest` is that of its content; `None` where the registry does not have it.
    Failed { digest: Option<[u8; 32]>, at: Instant, why: String },
}

impl Versions {
    /// No version is loaded; versions that are needed are requested from `loader`.
    pub(crate) fn new(loader: Sender<LoaderCommand>) -> Self {
        Self { snapshot: ArcSwap::default(), requested: Mutex::default(), loader }
    }

    /// Finds a version; one that has not been tried is requested from the loader.
    pub fn find(&self, model: &str, version: u32) -> VersionLookup {
        match self.snapshot.load().slot(model, version) {
            Some(VersionSlot::Ready(version)) => return VersionLookup::Ready(Arc::clone(version)),
            Some(VersionSlot::Failed { at, why, .. }) if at.elapsed() < RELOAD => {
                return VersionLookup::Failed(why.clone());
            }
            Some(VersionSlot::Failed { .. }) | None => {}
        }
        let name = (model.to_owned(), version);
        if self.requested.lock().insert(name.clone()) && self.loader.send(LoaderCommand::Load(name)).is_err() {
            return VersionLookup::Failed("nothing loads versions any more".to_owned());
        }
        VersionLookup::Loading
    }

    /// The versions that answer when `version` cannot, in order: production, then the one before it.
    pub fn chain(&self, model: &str, version: u32) -> Vec<Arc<Version>> {
        let snapshot = self.snapshot.load();
        let Some(model_versions) = snapshot.models.get(model) else { return Vec::new() };
        let mut chain: Vec<Arc<Version>> = Vec::new();
        for number in [model_versions.production, model_versions.previous_good()].into_iter().flatten() {
            if let Some(VersionSlot::Ready(other)) = model_versions.slots.get(&number)
                && number != version
                && chain.iter().all(|earlier| earlier.number() != number)
            {
                chain.push(Arc::clone(other));
            }
        }
        chain
    }

    /// The version to which a stage, an alias or `latest` resolves now.
    pub(crate) fn named(&self, model: &str, name: &str) -> Option<u32> {
        let snapshot = self.snapshot.load();
        let found = snapshot.models.get(model)?.view.as_ref()?.resolve(Some(name)).ok()?;
        found.exact.then_some(found.version)
    }

    /// Sends a command to the loader.
    pub(crate) fn send(&self, command: LoaderCommand) {
        // without a loader the process is about to end
        drop(self.loader.send(command));
    }

    /// A notifier for a new version.
    pub(crate) fn notifier(&self) -> StateNotifier {
        StateNotifier::new(self.loader.clone())
    }

    /// The current snapshot.
    pub(crate) fn snapshot(&self) -> Arc<VersionsSnapshot> {
        self.snapshot.load_full()
    }

    /// Replaces the snapshot; calls in progress keep the versions they use.
    pub(crate) fn replace(&self, snapshot: VersionsSnapshot) {
        self.snapshot.store(Arc::new(snapshot));
    }

    /// The loader has tried a version that was requested.
    pub(crate) fn tried(&self, name: &VersionName) {
        self.requested.lock().remove(name);
    }
}

impl VersionsSnapshot {
    /// What has become of a version; `None` when it has not been tried.
    pub(crate) fn slot(&self, model: &str, version: u32) -> Option<&VersionSlot> {
        self.models.get(model)?.slots.get(&version)
    }

    /// Whether a version can answer.
    pub(crate) fn is_ready(&self, model: &str, version: u32) -> bool {
        matches!(self.slot(model, version), Some(VersionSlot::Ready(_)))
    }
}

impl ModelVersions {
    /// The version that was production before in this process, else the nearest older one, else the newest other one.
    fn previous_good(&self) -> Option<u32> {
        let ready = |number: &u32| matches!(self.slots.get(number), Some(VersionSlot::Ready(_)));
        let production = self.production.unwrap_or(u32::MAX);
        let older = || self.slots.range(..production).rev().map(|(number, _)| *number).find(ready);
        let other = || self.slots.keys().rev().copied().filter(|number| *number != production).find(ready);
        self.previous.filter(|number| *number != production).filter(ready).or_else(older).or_else(other)
    }

    /// Makes `number` the production version.
    pub(crate) fn promote(&mut self, number: u32) {
        if self.production != Some(number) {
            self.previous = self.production.replace(number);
        }
    }
}

/// The gauge of the versions that can answer, read at every scrape.
#[derive(Debug)]
pub(crate) struct VersionStates(pub(crate) Weak<Versions>);

impl Collector for VersionStates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let Some(versions) = self.0.upgrade() else { return Ok(()) };
        let help = "1 while a version is loaded, 0 while it cannot be";
        let mut family = encoder.encode_descriptor("forebay_model_version_ready", help, None, MetricType::Gauge)?;
        for (model, model_versions) in &versions.snapshot().models {
            for (number, slot) in &model_versions.slots {
                let ready = match slot {
                    VersionSlot::Ready(_) => 1,
                    VersionSlot::Failed { digest: Some(_), .. } => 0,
                    // a row was pinned to what the registry does not have
                    VersionSlot::Failed { digest: None, .. } => continue,
                };
                let labels = [("model", model.clone()), ("version", number.to_string())];
                ConstGauge::new(i64::from(ready)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

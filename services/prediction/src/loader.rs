//! The thread that loads versions: at the start, when the registry changes, and when a row needs one.

mod history;
mod loading;
mod room;
mod unloaded;

use std::collections::{BTreeSet, HashSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use forebay_registry::{Inputs, ModelSettings, ModelView, Registry, RegistryWatch};
use forebay_runtime::{CircuitPolicy, Component, Heartbeat};

use crate::loader_commands::LoaderCommand;
use crate::metrics::ModelMetrics;
use crate::report::{Overrides, Reporter};
use crate::settings::Warm;
use crate::versions::{VersionSlot, Versions};
pub(crate) use history::LoadHistory;
use loading::{change, is_new};

/// The state of the thread, which ends when the stage is gone.
#[derive(Debug)]
pub(crate) struct Loader {
    pub versions: Weak<Versions>,
    pub commands: Receiver<LoaderCommand>,
    pub watch: RegistryWatch,
    pub reporter: Reporter,
    /// What requests said of models when that was last looked at.
    pub overrides: Overrides,
    pub started: Instant,
    pub models: ModelSettings,
    pub warm: Warm,
    pub policy: CircuitPolicy,
    /// How long a version stays loaded after the registry drops it, so that requests pinned to it can finish.
    pub grace: Duration,
    pub metrics: ModelMetrics,
    pub component: Component,
    pub heartbeat: Heartbeat,
    pub history: LoadHistory,
    /// The models that have no version of the stage that is set, which was logged.
    pub without_stage: HashSet<String>,
}

impl Loader {
    /// Starts the thread. It waits for a registry that is not there yet.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(crate) fn spawn(self) -> std::io::Result<()> {
        std::thread::Builder::new().name("model-loader".into()).spawn(move || self.run()).map(|_| ())
    }

    fn run(mut self) {
        let heartbeat = self.heartbeat.clone();
        loop {
            let Some(versions) = self.versions.upgrade() else { break };
            if self.watch.is_due() {
                let _waiting = heartbeat.waiting(self.models.longest_wait());
                self.read_registry(&versions);
            }
            drop(versions);
            heartbeat.beat();
            match self.commands.recv_timeout(self.watch.wait().min(heartbeat.interval())) {
                Ok(command) => {
                    let _waiting = heartbeat.waiting(self.models.longest_wait());
                    self.execute(command);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.component.finished();
    }

    fn execute(&mut self, command: LoaderCommand) {
        let Some(versions) = self.versions.upgrade() else { return };
        match command {
            LoaderCommand::Load(name) => self.load_on_demand(&versions, &name),
            LoaderCommand::ReadRegistry => self.watch.hurry(),
            LoaderCommand::ReadDirectory => {
                let (news, overrides) = (self.reporter.has_news(), self.overrides_changed());
                if news || overrides {
                    self.watch.hurry();
                }
            }
            LoaderCommand::Report => self.reporter.states(&versions),
        }
    }

    fn read_registry(&mut self, versions: &Versions) {
        match self.watch.look() {
            Ok(registry) => {
                if registry.status().stale.is_none() {
                    self.metrics.registry_read.now();
                }
                self.follow(&registry, versions);
            }
            Err(failed) if failed.is_new => {
                let error = failed.error.to_string();
                tracing::warn!(registry = self.models.shown(), error, "model registry cannot be read, trying again");
                if versions.snapshot().models.is_empty() {
                    self.component.unready(error);
                }
            }
            Err(_) => {}
        }
    }

    /// Brings the snapshot up to date with the registry; the production versions come first, so that the stage is ready
    /// soon.
    fn follow(&mut self, registry: &Registry, versions: &Versions) {
        let listed = registry.models();
        let mut views = self.served(listed.clone());
        views.sort_by_key(|view| view.name != self.models.name);
        views.iter().for_each(|view| self.warn_of_stage(view));
        for view in &views {
            let wanted = self.others(registry, versions, view).into_iter().chain(self.production(view));
            let fresh: Vec<u32> = wanted.filter(|number| is_new(versions, view, *number)).collect();
            self.reporter.loading(&view.name, fresh);
        }
        // other replicas may know a newer listing than one from the disk
        if registry.status().stale.is_none() {
            self.reporter.views(&listed);
        }
        self.reporter.states(versions);
        for view in &views {
            let seen = Arc::new(view.clone());
            change(versions, &view.name, |model_versions| model_versions.view = Some(seen));
            self.promote(registry, versions, view);
        }
        self.update_readiness(versions);
        for view in &views {
            for number in self.others(registry, versions, view) {
                self.load(registry, versions, view, number);
            }
            self.retire(versions, view);
        }
        self.unload(versions);
        self.update_readiness(versions);
        self.reporter.states(versions);
    }

    /// Logs, once, that a model has no version with the stage, alias or number of the settings.
    fn warn_of_stage(&mut self, view: &ModelView) {
        let stage = &self.models.stage;
        match view.resolve(Some(stage)) {
            Ok(found) if found.exact || stage.eq_ignore_ascii_case("production") => {
                self.without_stage.remove(&view.name);
            }
            Ok(found) if self.without_stage.insert(view.name.clone()) => tracing::warn!(
                model = view.name,
                stage,
                version = found.version,
                "no version has the stage or alias of models.stage, production answers"
            ),
            _ => {}
        }
    }

    fn production(&self, view: &ModelView) -> Option<u32> {
        view.resolve(Some(&self.models.stage)).ok().map(|found| found.version)
    }

    /// Loads the version that is production in the registry and lets it take over, unless it cannot be loaded.
    fn promote(&mut self, registry: &Registry, versions: &Versions, view: &ModelView) {
        let Some(wanted) = self.production(view) else { return };
        if !self.load(registry, versions, view, wanted) {
            return;
        }
        if versions
            .snapshot()
            .models
            .get(&view.name)
            .is_none_or(|model_versions| model_versions.production != Some(wanted))
        {
            change(versions, &view.name, |model_versions| model_versions.promote(wanted));
            self.reporter.states(versions);
            tracing::info!(model = view.name, version = wanted, "version answers as production");
        }
    }

    /// The versions to load beside production. A version without a signature is among them: its features are known, and
    /// requests can be pinned to it, only once it has been loaded.
    fn others(&self, registry: &Registry, versions: &Versions, view: &ModelView) -> Vec<u32> {
        let all = view.versions.iter().rev().map(|listed| listed.version);
        match self.warm {
            Warm::All => all.collect(),
            Warm::Production => {
                let production = self.production(view).unwrap_or(u32::MAX);
                let snapshot = versions.snapshot();
                let loaded = |number: &u32| snapshot.slot(&view.name, *number).is_some();
                let mut before = true;
                let unknown = |number: &u32| {
                    registry.describe_alone(&view.name, *number).is_ok_and(|meta| meta.inputs == Inputs::Unknown)
                };
                // versions that were loaded on demand follow the registry as well
                let wanted = |number: &u32| {
                    loaded(number) || (*number < production && std::mem::take(&mut before)) || unknown(number)
                };
                all.filter(wanted).collect()
            }
        }
    }

    /// The stage is ready when the default model can answer.
    fn update_readiness(&self, versions: &Versions) {
        let snapshot = versions.snapshot();
        let slots = snapshot.models.get(&self.models.name).map(|model_versions| &model_versions.slots);
        if slots.is_some_and(|slots| slots.values().any(|slot| matches!(slot, VersionSlot::Ready(_)))) {
            self.component.ready();
            return;
        }
        let why = slots.and_then(|slots| {
            slots.values().find_map(|slot| match slot {
                VersionSlot::Failed { why, .. } => Some(why.clone()),
                VersionSlot::Ready(_) => None,
            })
        });
        let why = why.unwrap_or_else(|| "is not in the registry".to_owned());
        self.component.unready(format!("model {}: {why}", self.models.name));
    }

    /// Unloads versions that the registry no longer lists, except the production version. They stay for a grace period,
    /// as rows that are pinned to them may still be on their way.
    fn retire(&mut self, versions: &Versions, view: &ModelView) {
        let snapshot = versions.snapshot();
        let Some(model_versions) = snapshot.models.get(&view.name) else { return };
        let kept: BTreeSet<u32> =
            view.versions.iter().map(|listed| listed.version).chain(model_versions.production).collect();
        let missing = model_versions.slots.keys().filter(|number| !kept.contains(number)).copied().collect();
        let gone = self.history.overdue(&view.name, &missing, self.grace);
        if !gone.is_empty() {
            change(versions, &view.name, |model_versions| {
                model_versions.slots.retain(|number, _| !gone.contains(number))
            });
            tracing::info!(model = view.name, versions = ?gone, "versions that the registry no longer lists are unloaded");
        }
    }
}

#[cfg(test)]
mod tests;

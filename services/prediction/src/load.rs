//! Loads versions on a thread of its own: at start, when the registry changes, and when one is asked for.

mod memory;

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use forebay_registry::{ModelSettings, ModelView, Registry, RegistryWatch};
use forebay_runtime::Component;

use crate::breaker::BreakerPolicy;
use crate::metrics::ModelMetrics;
use crate::report::Reporter;
use crate::settings::Warm;
use crate::version::Version;
use crate::versions::{RELOAD, Shelf, Slot, VersionName, Versions, Wish};
pub(crate) use memory::Memory;

/// What the thread works with. It ends when the stage is gone.
#[derive(Debug)]
pub(crate) struct Loader {
    pub versions: Weak<Versions>,
    pub wishes: Receiver<Wish>,
    pub watch: RegistryWatch,
    pub reporter: Reporter,
    pub models: ModelSettings,
    pub warm: Warm,
    pub policy: BreakerPolicy,
    /// A version that the registry lists no longer answers for so long what was pinned to it before.
    pub grace: Duration,
    pub metrics: ModelMetrics,
    pub component: Component,
    pub memory: Memory,
}

impl Loader {
    /// Starts the thread. A registry that is absent is waited for.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(crate) fn spawn(self) -> std::io::Result<()> {
        std::thread::Builder::new().name("model-loader".into()).spawn(move || self.run()).map(|_| ())
    }

    fn run(mut self) {
        loop {
            let Some(versions) = self.versions.upgrade() else { break };
            if self.watch.is_due() {
                self.look(&versions);
            }
            drop(versions);
            match self.wishes.recv_timeout(self.watch.wait()) {
                Ok(wish) => self.grant(wish),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.component.finished();
    }

    fn grant(&mut self, wish: Wish) {
        let Some(versions) = self.versions.upgrade() else { return };
        match wish {
            Wish::Version(name) => self.supply(&versions, &name),
            Wish::Look => self.watch.hurry(),
            Wish::ModelDirectory if self.reporter.heard_news() => self.watch.hurry(),
            Wish::ModelDirectory => {}
            Wish::Tell => self.reporter.states(&versions),
        }
    }

    fn look(&mut self, versions: &Versions) {
        match self.watch.look() {
            Ok(registry) => {
                if registry.status().stale.is_none() {
                    self.metrics.registry_read.now();
                }
                self.follow(&registry, versions);
            }
            Err(trouble) if trouble.is_new => {
                let error = trouble.error.to_string();
                tracing::warn!(registry = self.models.shown(), error, "model registry cannot be read, trying again");
                if versions.table().models.is_empty() {
                    self.component.unready(error);
                }
            }
            Err(_) => {}
        }
    }

    /// Makes the table equal to the registry: first every Production version, so that the stage is ready soon.
    fn follow(&mut self, registry: &Registry, versions: &Versions) {
        let mut views = registry.models();
        views.sort_by_key(|view| view.name != self.models.name);
        for view in &views {
            let wanted = self.others(versions, view).into_iter().chain(self.production(view));
            let fresh: Vec<u32> = wanted.filter(|number| is_new(versions, view, *number)).collect();
            self.reporter.loading(&view.name, fresh);
        }
        // an old listing is no news to anybody
        if registry.status().stale.is_none() {
            self.reporter.views(&views);
        }
        self.reporter.states(versions);
        for view in &views {
            let seen = Arc::new(view.clone());
            change(versions, &view.name, |shelf| shelf.view = Some(seen));
            self.promote(registry, versions, view);
        }
        self.settle(versions);
        for view in &views {
            for number in self.others(versions, view) {
                self.load(registry, versions, view, number);
            }
            self.retire(versions, view);
        }
        self.settle(versions);
        self.reporter.states(versions);
    }

    fn production(&self, view: &ModelView) -> Option<u32> {
        view.resolve(Some(&self.models.stage)).ok().map(|found| found.version)
    }

    /// Loads the version that Production means now and lets it take over. One that cannot be loaded does not.
    fn promote(&mut self, registry: &Registry, versions: &Versions, view: &ModelView) {
        let Some(wanted) = self.production(view) else { return };
        if !self.load(registry, versions, view, wanted) {
            return;
        }
        if versions.table().models.get(&view.name).is_none_or(|shelf| shelf.production != Some(wanted)) {
            change(versions, &view.name, |shelf| shelf.promote(wanted));
            self.reporter.states(versions);
            tracing::info!(model = view.name, version = wanted, "version answers as production");
        }
    }

    fn others(&self, versions: &Versions, view: &ModelView) -> Vec<u32> {
        let all = view.versions.iter().rev().map(|listed| listed.version);
        match self.warm {
            Warm::All => all.collect(),
            Warm::Production => {
                let production = self.production(view).unwrap_or(u32::MAX);
                let table = versions.table();
                let loaded = |number: &u32| table.slot(&view.name, *number).is_some();
                let mut before = true;
                // what was loaded on demand is kept equal to the registry as well
                all.filter(|number| loaded(number) || (*number < production && std::mem::take(&mut before))).collect()
            }
        }
    }

    /// Whether a version has to be loaded: it is not there, it has changed, or its failure is a while ago.
    fn is_due(&self, versions: &Versions, view: &ModelView, number: u32) -> bool {
        let table = versions.table();
        let digest = view.version(number).map(|listed| listed.digest);
        match table.slot(&view.name, number) {
            None => true,
            Some(Slot::Failed { digest: failed, at, .. }) => *failed != digest || at.elapsed() >= RELOAD,
            Some(Slot::Ready(version)) => digest.is_some_and(|digest| {
                *version.digest() != digest && !self.memory.just_refused(&(view.name.clone(), number), &digest)
            }),
        }
    }

    /// Loads, checks, warms up and swaps in; `true` when the version is ready. What is loaded and unchanged stays.
    fn load(&mut self, registry: &Registry, versions: &Versions, view: &ModelView, number: u32) -> bool {
        let model = &view.name;
        if !self.is_due(versions, view, number) {
            self.reporter.loaded(model, number);
            return versions.table().is_ready(model, number);
        }
        let digest = view.version(number).map(|listed| listed.digest);
        let started = Instant::now();
        let loaded =
            registry.load(model, number, forebay_model::open).map_err(|error| error.to_string()).and_then(|loaded| {
                Version::check(loaded, self.policy, self.metrics.version(model, number), versions.bell())
            });
        let slot = match loaded {
            Ok(version) => {
                let (took, row_cost) = (started.elapsed(), version.row_cost());
                tracing::info!(model, version = number, ?took, ?row_cost, "version loaded");
                Slot::Ready(Arc::new(version))
            }
            Err(why) => {
                if !self.is_known_failure(versions, model, number, digest, &why) {
                    tracing::warn!(model, version = number, why, "version cannot be loaded");
                }
                Slot::Failed { digest, at: Instant::now(), why }
            }
        };
        let ready = matches!(slot, Slot::Ready(_));
        change(versions, model, |shelf| {
            // a loaded version that was replaced by a broken one goes on answering
            match (shelf.slots.get(&number), digest) {
                (Some(Slot::Ready(_)), Some(digest)) if !ready => {
                    self.memory.refuse((model.clone(), number), digest);
                }
                _ => drop(shelf.slots.insert(number, slot)),
            }
        });
        self.reporter.loaded(model, number);
        self.reporter.states(versions);
        versions.table().is_ready(model, number)
    }

    /// A version that stays broken is tried again and again; it is told once.
    fn is_known_failure(
        &self,
        versions: &Versions,
        model: &str,
        number: u32,
        digest: Option<[u8; 32]>,
        why: &str,
    ) -> bool {
        match versions.table().slot(model, number) {
            Some(Slot::Failed { why: before, .. }) => before == why,
            Some(Slot::Ready(_)) => {
                digest.is_some_and(|digest| self.memory.has_refused(&(model.to_owned(), number), &digest))
            }
            None => false,
        }
    }

    /// A version that was asked for. One the listing does not have may be newer than the listing.
    fn supply(&mut self, versions: &Versions, name: &VersionName) {
        let (model, number) = name;
        let registry = self.watch.registry();
        let listed = |registry: &Registry| registry.model(model).filter(|view| view.version(*number).is_some());
        let found = registry.as_deref().and_then(|registry| {
            let view = listed(registry).or_else(|| registry.refresh().ok().and_then(|()| listed(registry)))?;
            if is_new(versions, &view, *number) {
                self.reporter.loading(model, [*number]);
                self.reporter.states(versions);
            }
            Some(self.load(registry, versions, &view, *number))
        });
        if found.is_none() {
            let why = match registry {
                Some(_) => "is not in the registry",
                None => "cannot be loaded, the registry is not there",
            };
            let slot = Slot::Failed { digest: None, at: Instant::now(), why: why.to_owned() };
            change(versions, model, |shelf| {
                // what the registry lists no longer may still be here
                if !matches!(shelf.slots.get(number), Some(Slot::Ready(_))) {
                    shelf.slots.insert(*number, slot);
                }
            });
            self.reporter.states(versions);
        }
        versions.answered(name);
    }

    /// Whether the default model can answer.
    fn settle(&self, versions: &Versions) {
        let table = versions.table();
        let slots = table.models.get(&self.models.name).map(|shelf| &shelf.slots);
        if slots.is_some_and(|slots| slots.values().any(|slot| matches!(slot, Slot::Ready(_)))) {
            self.component.ready();
            return;
        }
        let why = slots.and_then(|slots| {
            slots.values().find_map(|slot| match slot {
                Slot::Failed { why, .. } => Some(why.clone()),
                Slot::Ready(_) => None,
            })
        });
        let why = why.unwrap_or_else(|| "is not in the registry".to_owned());
        self.component.unready(format!("model {}: {why}", self.models.name));
    }

    /// Forgets versions that the registry does not list any more, unless one still answers as Production. Rows that were
    /// pinned to one before are still under way, so it stays for a while.
    fn retire(&mut self, versions: &Versions, view: &ModelView) {
        let table = versions.table();
        let Some(shelf) = table.models.get(&view.name) else { return };
        let kept: BTreeSet<u32> = view.versions.iter().map(|listed| listed.version).chain(shelf.production).collect();
        let missing = shelf.slots.keys().filter(|number| !kept.contains(number)).copied().collect();
        let gone = self.memory.overdue(&view.name, &missing, self.grace);
        if !gone.is_empty() {
            change(versions, &view.name, |shelf| shelf.slots.retain(|number, _| !gone.contains(number)));
            tracing::info!(model = view.name, versions = ?gone, "versions that the registry has no longer are gone");
        }
    }
}

/// Whether nothing is known yet of what the registry lists. One that failed before is still failed while it is tried
/// again, or Production would wait for it in vain and take it in the end.
fn is_new(versions: &Versions, view: &ModelView, number: u32) -> bool {
    match versions.table().slot(&view.name, number) {
        None => true,
        Some(Slot::Failed { digest, .. }) => *digest != view.version(number).map(|listed| listed.digest),
        Some(Slot::Ready(_)) => false,
    }
}

fn change(versions: &Versions, model: &str, change: impl FnOnce(&mut Shelf)) {
    let mut table = (*versions.table()).clone();
    change(table.models.entry(model.to_owned()).or_default());
    versions.replace(table);
}

#[cfg(test)]
mod tests;

//! Keeps the catalog equal to the registry, on a thread of its own: reading files has no place on the hot path.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use forebay_bus::ModelDirectory;
use forebay_model::{ModelView, Registry, RegistryWatch, VersionMeta};
use forebay_runtime::{Component, Heartbeat, Lifecycle, RegistryRead};

use crate::catalog::Catalog;
use crate::gate::{Candidate, Gate};
use crate::table::{Listed, Policy, Table};

/// What could not be read is tried again after so long.
const AGAIN: Duration = Duration::from_secs(30);
/// Longest sleep; then the thread sees that the process ends.
const NAP: Duration = Duration::from_secs(5);

/// Why the thread is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// Somebody knows that the registry has changed.
    Registry,
    /// The model directory says something new.
    ModelDirectory,
}

/// What the thread works with.
#[derive(Debug)]
pub(crate) struct Refresher {
    pub catalog: Catalog,
    pub watch: RegistryWatch,
    pub calls: Receiver<Call>,
    pub directory: ModelDirectory,
    pub gate: Gate,
    pub policy: Policy,
    /// Where the registry is, without credentials.
    pub shown: String,
    pub lifecycle: Lifecycle,
    pub component: Component,
    pub heartbeat: Heartbeat,
    /// Longest time for reading the registry once.
    pub longest_read: Duration,
    pub read: Read,
    /// When the registry was read, for the metrics.
    pub read_at: RegistryRead,
}

/// What was read last.
#[derive(Debug, Default)]
pub(crate) struct Read {
    views: Vec<ModelView>,
    /// Versions that cannot be used, and why.
    unusable: BTreeMap<(String, u32), String>,
    /// When that was seen.
    at: Option<Instant>,
    /// Generation up to which the model directory's view of a model is known here.
    heard: HashMap<String, u64>,
    /// Versions of splits that were said not to be there.
    missing: Vec<String>,
}

impl Refresher {
    /// Starts the thread. It ends with the process; a registry that is absent is waited for.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(crate) fn spawn(self) -> std::io::Result<()> {
        std::thread::Builder::new().name("registry".into()).spawn(move || self.run()).map(|_| ())
    }

    fn run(mut self) {
        let heartbeat = self.heartbeat.clone();
        while !self.lifecycle.is_draining() {
            let waiting = heartbeat.waiting(self.longest_read);
            if self.watch.is_due() {
                self.look();
            }
            let now = Instant::now();
            self.open_gates(now);
            drop(waiting);
            let nap = self.watch.wait().min(self.gate.wait(now)).min(NAP).min(heartbeat.interval());
            match self.calls.recv_timeout(nap) {
                Ok(call) => self.answer(call),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.component.finished();
    }

    /// Several calls are one.
    fn answer(&mut self, first: Call) {
        let calls: Vec<Call> = std::iter::once(first).chain(self.calls.try_iter()).collect();
        if calls.contains(&Call::Registry) || self.heard_news() {
            self.watch.hurry();
        }
    }

    /// Whether prediction has read something newer than what is known here; asked once for each view.
    fn heard_news(&mut self) -> bool {
        let mut news = false;
        for view in self.directory.views() {
            let known = self.read.heard.entry(view.model.clone()).or_insert(0);
            news |= view.generation > *known;
            *known = view.generation.max(*known);
        }
        news
    }

    fn look(&mut self) {
        match self.watch.look() {
            Ok(registry) => {
                if registry.status().stale.is_none() {
                    self.read_at.now();
                }
                let views = registry.models();
                let first = self.catalog.table().is_none();
                if first || views != self.read.views {
                    tracing::info!(registry = self.shown, models = views.len(), "model registry read");
                    self.read.views = views;
                    self.compile(&registry, Instant::now());
                } else if !self.read.unusable.is_empty() && self.read.at.is_none_or(|at| at.elapsed() >= AGAIN) {
                    // its files may not have been there, or could not be fetched
                    self.compile(&registry, Instant::now());
                }
            }
            Err(trouble) if trouble.is_new => {
                let error = trouble.error.to_string();
                tracing::warn!(registry = self.shown, error, "model registry cannot be read, trying again");
                if self.catalog.table().is_none() {
                    self.component.unready(error);
                }
            }
            Err(_) => {}
        }
    }

    /// A Production that waited may have arrived.
    fn open_gates(&mut self, now: Instant) {
        let Some(registry) = self.watch.registry().filter(|_| self.catalog.table().is_some()) else { return };
        let (policy, directory, catalog) = (&self.policy, &self.directory, &self.catalog);
        let table = catalog.table();
        let usable = |model: &str, version: u32| table.as_ref().is_some_and(|table| table.has(model, version));
        let mut moved = false;
        for view in &self.read.views {
            let (Ok(wanted), Some(open)) = (view.resolve(Some(&policy.stage)), self.gate.open(&view.name)) else {
                continue;
            };
            if wanted.version != open {
                let candidate = Candidate {
                    version: wanted.version,
                    usable: usable(&view.name, wanted.version),
                    ready_count: directory.ready_count(&view.name, wanted.version),
                    other_usable: usable(&view.name, open),
                };
                moved |= self.gate.pass(&view.name, candidate, now) != open;
            }
        }
        drop(table);
        if moved {
            self.compile(&registry, now);
        }
    }

    /// Makes the table anew of what was read.
    fn compile(&mut self, registry: &Registry, now: Instant) {
        let views = self.read.views.clone();
        let known = std::mem::take(&mut self.read.unusable);
        self.read.at = Some(now);
        let listed: Vec<Listed> = views.into_iter().filter_map(|view| self.list(registry, view, now)).collect();
        for ((model, version), error) in self.read.unusable.iter().filter(|(name, why)| known.get(name) != Some(why)) {
            tracing::warn!(model, version, error, "version cannot be used");
        }
        let table = Table::new(&self.policy, listed);
        if table.missing() != self.read.missing {
            self.read.missing = table.missing().to_vec();
            if !self.read.missing.is_empty() {
                let missing = self.read.missing.join(", ");
                tracing::warn!(missing, "a split names what is not in the registry, production answers in its place");
            }
        }
        let ready = table.ready();
        self.catalog.replace(table);
        match ready {
            Ok(()) => self.component.ready(),
            Err(why) => self.component.unready(why),
        }
    }

    fn list(&mut self, registry: &Registry, view: ModelView, now: Instant) -> Option<Listed> {
        let mut metas: Vec<VersionMeta> = Vec::new();
        for version in view.versions.iter().map(|listed| listed.version) {
            self.heartbeat.beat();
            match registry.describe(&view.name, version) {
                Ok(meta) => metas.push(meta),
                Err(error) => drop(self.read.unusable.insert((view.name.clone(), version), error.to_string())),
            }
        }
        let version = view.resolve(Some(&self.policy.stage)).ok()?.version;
        let usable = |number: u32| metas.iter().any(|meta| meta.version == number);
        let candidate = Candidate {
            version,
            usable: usable(version),
            ready_count: self.directory.ready_count(&view.name, version),
            other_usable: self.gate.open(&view.name).is_some_and(usable),
        };
        let production = self.gate.pass(&view.name, candidate, now);
        Some(Listed { view, metas, production })
    }
}

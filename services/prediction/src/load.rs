//! Loads versions on a thread of its own: at start, when the registry changes, and when one is asked for.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use forebay_model::{ModelView, Registry, RegistryError};
use forebay_runtime::{Component, ModelSettings};

use crate::breaker::BreakerPolicy;
use crate::metrics::ModelMetrics;
use crate::settings::Warm;
use crate::version::Version;
use crate::versions::{RELOAD, Shelf, Slot, VersionName, Versions};

/// Longest wait between two tries to open a registry that is not there.
const REOPEN: Duration = Duration::from_secs(1);

/// What the thread works with. It ends when the stage is gone.
#[derive(Debug)]
pub(crate) struct Loader {
    pub versions: Weak<Versions>,
    pub wanted: Receiver<VersionName>,
    pub models: ModelSettings,
    pub warm: Warm,
    pub every: Duration,
    pub policy: BreakerPolicy,
    pub metrics: ModelMetrics,
    pub component: Component,
}

impl Loader {
    /// Starts the thread. A registry that is absent is waited for.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(crate) fn spawn(self) -> std::io::Result<()> {
        std::thread::Builder::new().name("model-loader".into()).spawn(move || self.run()).map(|_| ())
    }

    fn run(self) {
        let mut registry = None;
        let mut told = String::new();
        let mut due = Instant::now();
        loop {
            let Some(versions) = self.versions.upgrade() else { break };
            if due <= Instant::now() {
                match self.look(&mut registry, &versions) {
                    Ok(()) => told.clear(),
                    Err(error) => self.complain(&versions, error.to_string(), &mut told),
                }
                due = Instant::now() + if registry.is_some() { self.every } else { self.every.min(REOPEN) };
            }
            drop(versions);
            match self.wanted.recv_timeout(due.saturating_duration_since(Instant::now())) {
                Ok(name) => self.supply(registry.as_ref(), &name),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.component.finished();
    }

    /// Each new trouble is told once, not every few seconds.
    fn complain(&self, versions: &Versions, error: String, told: &mut String) {
        if error != *told {
            tracing::warn!(registry = self.models.registry, error, "model registry cannot be read, trying again");
            if versions.table().models.is_empty() {
                self.component.unready(&error);
            }
            *told = error;
        }
    }

    /// Makes the table equal to the registry: first every Production version, so that the stage is ready soon.
    fn look(&self, registry: &mut Option<Registry>, versions: &Versions) -> Result<(), RegistryError> {
        let registry = match registry {
            Some(registry) => {
                registry.refresh()?;
                &*registry
            }
            None => &*registry.insert(Registry::open(&self.models.registry)?),
        };
        let mut views = registry.models();
        views.sort_by_key(|view| view.name != self.models.name);
        for view in &views {
            self.promote(registry, versions, view);
        }
        self.report(versions);
        for view in &views {
            for number in self.others(view) {
                self.load(registry, versions, view, number);
            }
            retire(versions, view);
        }
        self.report(versions);
        Ok(())
    }

    /// Loads the version that Production means now and lets it take over. One that cannot be loaded does not.
    fn promote(&self, registry: &Registry, versions: &Versions, view: &ModelView) {
        let Ok(wanted) = view.resolve(Some(&self.models.stage)) else { return };
        if !self.load(registry, versions, view, wanted.version) {
            return;
        }
        let table = versions.table();
        if table.models.get(&view.name).is_none_or(|shelf| shelf.production != Some(wanted.version)) {
            change(versions, &view.name, |shelf| shelf.promote(wanted.version));
            tracing::info!(model = view.name, version = wanted.version, "version answers as production");
        }
    }

    fn others(&self, view: &ModelView) -> Vec<u32> {
        let all = view.versions.iter().rev().map(|listed| listed.version);
        match self.warm {
            Warm::All => all.collect(),
            Warm::Production => {
                let production = view.resolve(Some(&self.models.stage)).map_or(u32::MAX, |found| found.version);
                all.filter(|number| *number < production).take(1).collect()
            }
        }
    }

    /// Loads, checks, warms up and swaps in; `true` when the version is ready. What is loaded and unchanged stays.
    fn load(&self, registry: &Registry, versions: &Versions, view: &ModelView, number: u32) -> bool {
        let table = versions.table();
        let digest = view.version(number).map(|listed| listed.digest);
        match table.models.get(&view.name).and_then(|shelf| shelf.slots.get(&number)) {
            Some(Slot::Ready(version)) if Some(*version.digest()) == digest => return true,
            Some(Slot::Failed { digest: failed, at, .. }) if *failed == digest && at.elapsed() < RELOAD => {
                return false;
            }
            _ => {}
        }
        let started = Instant::now();
        let loaded = registry
            .load(&view.name, number)
            .map_err(|error| error.to_string())
            .and_then(|loaded| Version::check(loaded, self.policy, self.metrics.version(&view.name, number)));
        let slot = match loaded {
            Ok(version) => {
                let (took, row_cost) = (started.elapsed(), version.row_cost());
                tracing::info!(model = view.name, version = number, ?took, ?row_cost, "version loaded");
                Slot::Ready(Arc::new(version))
            }
            Err(why) => {
                tracing::warn!(model = view.name, version = number, why, "version cannot be loaded");
                Slot::Failed { digest, at: Instant::now(), why }
            }
        };
        let ready = matches!(slot, Slot::Ready(_));
        change(versions, &view.name, |shelf| {
            // a loaded version that was replaced by a broken one goes on answering
            if ready || !matches!(shelf.slots.get(&number), Some(Slot::Ready(_))) {
                shelf.slots.insert(number, slot);
            }
        });
        ready
    }

    /// A version that was asked for. One the listing does not have may be newer than the listing.
    fn supply(&self, registry: Option<&Registry>, name: &VersionName) {
        let Some(versions) = self.versions.upgrade() else { return };
        let (model, number) = name;
        let listed = |registry: &Registry| registry.model(model).filter(|view| view.version(*number).is_some());
        let found = registry.and_then(|registry| {
            let view = listed(registry).or_else(|| registry.refresh().ok().and_then(|()| listed(registry)));
            view.map(|view| self.load(registry, &versions, &view, *number))
        });
        if found.is_none() {
            let why = if registry.is_some() {
                "is not in the registry"
            } else {
                "cannot be loaded, the registry is not there"
            };
            let slot = Slot::Failed { digest: None, at: Instant::now(), why: why.to_owned() };
            change(&versions, model, |shelf| {
                shelf.slots.insert(*number, slot);
            });
        }
        versions.answered(name);
    }

    fn report(&self, versions: &Versions) {
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
}

/// Forgets versions that the registry does not list any more, unless one still answers as Production.
fn retire(versions: &Versions, view: &ModelView) {
    let table = versions.table();
    let Some(shelf) = table.models.get(&view.name) else { return };
    let kept: BTreeSet<u32> = view.versions.iter().map(|listed| listed.version).chain(shelf.production).collect();
    if shelf.slots.keys().any(|number| !kept.contains(number)) {
        change(versions, &view.name, |shelf| shelf.slots.retain(|number, _| kept.contains(number)));
    }
}

fn change(versions: &Versions, model: &str, change: impl FnOnce(&mut Shelf)) {
    let mut table = (*versions.table()).clone();
    change(table.models.entry(model.to_owned()).or_default());
    versions.replace(table);
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc::channel;

    use forebay_runtime::{Layers, Lifecycle, SHARED_BUNDLE, Shared};

    use super::*;
    use crate::fakes::POLICY;
    use crate::versions::Found;

    const PATIENCE: Duration = Duration::from_secs(20);

    struct Kept {
        versions: Arc<Versions>,
        lifecycle: Lifecycle,
        folder: tempfile::TempDir,
    }

    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            let target = to.join(entry.file_name());
            match entry.path().is_dir() {
                true => copy(&entry.path(), &target),
                false => _ = std::fs::copy(entry.path(), target).unwrap(),
            }
        }
    }

    fn defaults() -> ModelSettings {
        let layers = Layers::from_parts(&[SHARED_BUNDLE], "", &[], &[]).unwrap();
        Shared::read(&layers, &mut layers.problems()).unwrap().models
    }

    fn kept(warm: Warm) -> Kept {
        let folder = tempfile::tempdir().unwrap();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../preprocessing/tests/registry"), folder.path());
        let (loader, wanted) = channel();
        let versions = Arc::new(Versions::new(loader));
        let lifecycle = Lifecycle::new();
        let registry = format!("file:{}", folder.path().display());
        Loader {
            versions: Arc::downgrade(&versions),
            wanted,
            models: ModelSettings { registry, name: "diabetes".into(), ..defaults() },
            warm,
            every: Duration::from_millis(50),
            policy: POLICY,
            metrics: ModelMetrics::default(),
            component: lifecycle.register("models"),
        }
        .spawn()
        .unwrap();
        let kept = Kept { versions, lifecycle, folder };
        kept.until(|kept| kept.lifecycle.is_ready());
        kept
    }

    impl Kept {
        fn until(&self, reached: impl Fn(&Self) -> bool) {
            let started = Instant::now();
            while !reached(self) {
                assert!(started.elapsed() < PATIENCE, "{:?} {:?}", self.shelf(), self.lifecycle.components());
                std::thread::yield_now();
            }
        }

        fn shelf(&self) -> Option<Shelf> {
            self.versions.table().models.get("diabetes").cloned()
        }

        fn production(&self) -> Option<u32> {
            self.shelf()?.production
        }

        fn write(&self, path: &str, content: &str) {
            let root = self.folder.path().join("diabetes");
            // whole or not at all, as a registry should be written
            std::fs::write(self.folder.path().join(".new"), content).unwrap();
            std::fs::rename(self.folder.path().join(".new"), root.join(path)).unwrap();
        }

        fn chain(&self, version: u32) -> Vec<u32> {
            self.versions.chain("diabetes", version).iter().map(|version| version.number()).collect()
        }
    }

    #[test]
    fn production_is_loaded_before_readiness_and_the_rest_after() {
        let kept = kept(Warm::All);
        assert_eq!(kept.production(), Some(2));
        kept.until(|kept| kept.shelf().is_some_and(|shelf| shelf.slots.len() == 3));
        assert_eq!((kept.chain(3), kept.chain(2)), (vec![2, 1], vec![1]));
    }

    #[test]
    fn a_version_is_loaded_when_it_is_asked_for() {
        let kept = kept(Warm::Production);
        kept.until(|kept| kept.shelf().is_some_and(|shelf| shelf.slots.len() == 2));
        assert!(matches!(kept.versions.find("diabetes", 3), Found::Loading));
        kept.until(|kept| matches!(kept.versions.find("diabetes", 3), Found::Ready(_)));
        kept.until(
            |kept| matches!(kept.versions.find("diabetes", 8), Found::Failed(why) if why == "is not in the registry"),
        );
        kept.until(|kept| matches!(kept.versions.find("nobody", 1), Found::Failed(_)));
    }

    #[test]
    fn a_moved_stage_is_followed_and_the_old_version_is_the_fallback() {
        let kept = kept(Warm::All);
        kept.until(|kept| kept.shelf().is_some_and(|shelf| shelf.slots.len() == 3));
        kept.write("registered_model.yaml", "stages: {3: Production}");
        kept.until(|kept| kept.production() == Some(3));
        assert_eq!(kept.chain(3), [2], "the one before, not the nearest older one by chance");
        kept.write("registered_model.yaml", "stages: {1: Production}");
        kept.until(|kept| kept.production() == Some(1));
        assert_eq!(kept.chain(1), [3]);
    }

    #[test]
    fn a_broken_new_production_version_does_not_take_over() {
        let kept = kept(Warm::All);
        copy(&kept.folder.path().join("diabetes/3"), &kept.folder.path().join(".four"));
        std::fs::write(kept.folder.path().join(".four/model.skops"), "not a model").unwrap();
        std::fs::rename(kept.folder.path().join(".four"), kept.folder.path().join("diabetes/4")).unwrap();
        kept.write("registered_model.yaml", "stages: {4: Production}");
        kept.until(|kept| kept.shelf().is_some_and(|shelf| matches!(shelf.slots.get(&4), Some(Slot::Failed { .. }))));
        assert_eq!(kept.production(), Some(2));
        assert_eq!(kept.chain(4), [2, 1]);
        assert!(kept.lifecycle.is_ready());
    }

    #[test]
    fn a_retired_version_is_forgotten() {
        let kept = kept(Warm::All);
        kept.until(|kept| kept.shelf().is_some_and(|shelf| shelf.slots.len() == 3));
        std::fs::remove_dir_all(kept.folder.path().join("diabetes/1")).unwrap();
        kept.until(|kept| kept.shelf().is_some_and(|shelf| shelf.slots.len() == 2));
        assert_eq!(kept.chain(3), [2]);
    }

    #[test]
    fn the_thread_ends_with_the_stage() {
        let Kept { versions, lifecycle, .. } = kept(Warm::Production);
        drop(versions);
        let started = Instant::now();
        while !lifecycle.components().is_empty() {
            assert!(started.elapsed() < PATIENCE);
            std::thread::yield_now();
        }
        assert_eq!(lifecycle.failure(), None, "a planned end");
    }
}

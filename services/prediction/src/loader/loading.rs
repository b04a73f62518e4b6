//! Loads one version: checks it, warms it up and puts it into the snapshot.

use std::sync::Arc;
use std::time::Instant;

use forebay_registry::{ModelView, Registry, RegistryError};

use super::{Loader, room};
use crate::loader_commands::VersionName;
use crate::version::Version;
use crate::versions::{ModelVersions, RELOAD, VersionSlot, Versions};

impl Loader {
    /// Whether a version has to be loaded: it is new, its content has changed, or its last failure is long enough ago.
    fn is_due(&self, versions: &Versions, view: &ModelView, number: u32) -> bool {
        let snapshot = versions.snapshot();
        let digest = view.version(number).map(|listed| listed.digest);
        match snapshot.slot(&view.name, number) {
            None => true,
            Some(VersionSlot::Failed { digest: failed, at, .. }) => *failed != digest || at.elapsed() >= RELOAD,
            Some(VersionSlot::Ready(version)) => digest.is_some_and(|digest| {
                *version.digest() != digest && !self.history.just_refused(&(view.name.clone(), number), &digest)
            }),
        }
    }

    /// Loads a version unless it is loaded and unchanged; `true` when it is ready afterwards.
    pub(super) fn load(&mut self, registry: &Registry, versions: &Versions, view: &ModelView, number: u32) -> bool {
        let model = &view.name;
        if !self.is_due(versions, view, number) {
            self.reporter.loaded(model, number);
            return versions.snapshot().is_ready(model, number);
        }
        let digest = view.version(number).map(|listed| listed.digest);
        let _waiting = self.heartbeat.waiting(self.models.longest_wait());
        let started = Instant::now();
        let mut read = registry.load(model, number, forebay_model::open);
        if view.is_named(number)
            && read.as_ref().is_err_and(RegistryError::is_over_budget)
            && !self.has_failed(versions, model, number, digest)
            && room::make(versions)
        {
            read = registry.load(model, number, forebay_model::open);
        }
        let loaded = read.map_err(|error| error.to_string()).and_then(|loaded| {
            Version::check(loaded, self.policy, self.metrics.version(model, number), versions.notifier())
        });
        let slot = match loaded {
            Ok(version) => {
                let (took, row_cost) = (started.elapsed(), version.row_cost());
                tracing::info!(model, version = number, ?took, ?row_cost, "version loaded");
                VersionSlot::Ready(Arc::new(version))
            }
            Err(why) => {
                if !self.is_known_failure(versions, model, number, digest, &why) {
                    tracing::warn!(model, version = number, why, "version cannot be loaded");
                }
                VersionSlot::Failed { digest, at: Instant::now(), why }
            }
        };
        let ready = matches!(slot, VersionSlot::Ready(_));
        change(versions, model, |model_versions| {
            // a broken version does not replace one that is loaded
            match (model_versions.slots.get(&number), digest) {
                (Some(VersionSlot::Ready(_)), Some(digest)) if !ready => {
                    self.history.refuse((model.clone(), number), digest);
                }
                _ => drop(model_versions.slots.insert(number, slot)),
            }
        });
        self.reporter.loaded(model, number);
        self.reporter.states(versions);
        versions.snapshot().is_ready(model, number)
    }

    /// Whether this content of a version could not be loaded before.
    fn has_failed(&self, versions: &Versions, model: &str, number: u32, digest: Option<[u8; 32]>) -> bool {
        match versions.snapshot().slot(model, number) {
            Some(VersionSlot::Failed { digest: failed, .. }) => *failed == digest,
            Some(VersionSlot::Ready(_)) => {
                digest.is_some_and(|digest| self.history.has_refused(&(model.to_owned(), number), &digest))
            }
            None => false,
        }
    }

    /// Whether a version has failed for the same reason before: it is tried again and again, and logged once.
    fn is_known_failure(
        &self,
        versions: &Versions,
        model: &str,
        number: u32,
        digest: Option<[u8; 32]>,
        why: &str,
    ) -> bool {
        match versions.snapshot().slot(model, number) {
            Some(VersionSlot::Failed { why: before, .. }) => before == why,
            Some(VersionSlot::Ready(_)) => {
                digest.is_some_and(|digest| self.history.has_refused(&(model.to_owned(), number), &digest))
            }
            None => false,
        }
    }

    /// Loads a version that a row needs. One that is not listed may be newer than the listing.
    pub(super) fn load_on_demand(&mut self, versions: &Versions, name: &VersionName) {
        let (model, number) = name;
        let registry = self.watch.registry();
        let unloaded = self.reporter.is_unloaded(model);
        let listed =
            |registry: &Registry| registry.model(model).filter(|view| !unloaded && view.version(*number).is_some());
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
                Some(_) if unloaded => "is unloaded",
                Some(_) => "is not in the registry",
                None => "cannot be loaded, the registry is not there",
            };
            let slot = VersionSlot::Failed { digest: None, at: Instant::now(), why: why.to_owned() };
            change(versions, model, |model_versions| {
                // a version that the registry no longer lists may still be loaded
                if !matches!(model_versions.slots.get(number), Some(VersionSlot::Ready(_))) {
                    model_versions.slots.insert(*number, slot);
                }
            });
            self.reporter.states(versions);
        }
        versions.tried(name);
    }
}

/// True if the listed content has not been tried yet. A retry keeps reporting `failed`: reporting `loading` would make
/// the promotion gate wait for it.
pub(super) fn is_new(versions: &Versions, view: &ModelView, number: u32) -> bool {
    match versions.snapshot().slot(&view.name, number) {
        None => true,
        Some(VersionSlot::Failed { digest, .. }) => *digest != view.version(number).map(|listed| listed.digest),
        Some(VersionSlot::Ready(_)) => false,
    }
}

/// Changes the versions of one model in a new snapshot.
pub(super) fn change(versions: &Versions, model: &str, change: impl FnOnce(&mut ModelVersions)) {
    let mut snapshot = (*versions.snapshot()).clone();
    change(snapshot.models.entry(model.to_owned()).or_default());
    versions.replace(snapshot);
}

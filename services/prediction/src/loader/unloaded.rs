//! Models that requests to the repository loaded or unloaded, whatever registry and settings say.

use std::collections::BTreeSet;
use std::time::Duration;

use forebay_registry::ModelView;

use super::Loader;
use super::loading::change;
use crate::versions::{ModelVersions, Versions};

/// Longest time for which models beside the default one wait for the model directory, which may say that they are unloaded.
const DIRECTORY_WAIT: Duration = Duration::from_secs(10);

impl Loader {
    /// Whether requests have loaded or unloaded models since the last call.
    pub(super) fn overrides_changed(&mut self) -> bool {
        let overrides = self.reporter.overrides();
        self.watch.list_also(overrides.loaded.keys().cloned());
        let changed = overrides != self.overrides;
        self.overrides = overrides;
        changed
    }

    /// The models among `views` that are to be served now.
    pub(super) fn served(&self, views: Vec<ModelView>) -> Vec<ModelView> {
        let known = self.reporter.overrides().complete || self.started.elapsed() > DIRECTORY_WAIT;
        let is_served =
            |view: &ModelView| view.name == self.models.name || (known && !self.reporter.is_unloaded(&view.name));
        views.into_iter().filter(is_served).collect()
    }

    /// Unloads the models that requests unloaded, once the rows that are pinned to them have had their time.
    pub(super) fn unload(&mut self, versions: &Versions) {
        for (model, loaded) in &versions.snapshot().models {
            if loaded.slots.is_empty() || !self.reporter.is_unloaded(model) {
                continue;
            }
            let all: BTreeSet<u32> = loaded.slots.keys().copied().collect();
            let gone = self.history.overdue(model, &all, self.grace);
            if gone.is_empty() {
                continue;
            }
            change(versions, model, |loaded| {
                loaded.slots.retain(|number, _| !gone.contains(number));
                if loaded.slots.is_empty() {
                    *loaded = ModelVersions::default();
                }
            });
            tracing::info!(model, versions = ?gone, "versions of a model that a request unloaded are unloaded");
        }
    }
}

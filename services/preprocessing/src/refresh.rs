//! Keeps the catalog equal to the registry, on a thread of its own: reading files has no place on the hot path.

use std::time::Duration;

use forebay_model::{ModelView, Registry, RegistryError};
use forebay_runtime::{Component, Lifecycle, ModelSettings};

use crate::catalog::Catalog;
use crate::registry::registry_options;
use crate::row::Rules;
use crate::table::Table;

/// Longest wait between two tries to open a registry that is not there.
const REOPEN: Duration = Duration::from_secs(1);

/// What the thread works with.
#[derive(Debug)]
pub(crate) struct Refresher {
    pub catalog: Catalog,
    pub models: ModelSettings,
    pub rules: Rules,
    pub every: Duration,
    pub lifecycle: Lifecycle,
    pub component: Component,
}

impl Refresher {
    /// Starts the thread. It ends with the process; a registry that is absent is waited for.
    ///
    /// # Errors
    /// When there can be no more threads.
    pub(crate) fn spawn(self) -> std::io::Result<()> {
        std::thread::Builder::new().name("registry".into()).spawn(move || self.run()).map(|_| ())
    }

    fn run(self) {
        let mut registry = None;
        let mut seen: Vec<ModelView> = Vec::new();
        let mut told = String::new();
        while !self.lifecycle.is_draining() {
            match self.look(&mut registry, &mut seen) {
                Ok(()) => told.clear(),
                Err(error) => {
                    let error = error.to_string();
                    if error != told {
                        tracing::warn!(
                            registry = self.models.shown(),
                            error,
                            "model registry cannot be read, trying again"
                        );
                        if self.catalog.table().is_none() {
                            self.component.unready(&error);
                        }
                        told = error;
                    }
                }
            }
            let opened = registry.is_some();
            std::thread::sleep(if opened { self.every } else { self.every.min(REOPEN) });
        }
        self.component.finished();
    }

    fn look(&self, registry: &mut Option<Registry>, seen: &mut Vec<ModelView>) -> Result<(), RegistryError> {
        let registry = match registry {
            Some(registry) => {
                registry.refresh()?;
                registry
            }
            None => registry.insert(Registry::open_with(&registry_options(&self.models))?),
        };
        let views = registry.models();
        if self.catalog.table().is_some() && views == *seen {
            return Ok(());
        }
        let table = Table::compile(registry, &self.models.name, &self.models.stage, &self.rules);
        let ready = table.ready();
        tracing::info!(registry = registry.location(), models = views.len(), "model registry read");
        self.catalog.replace(table);
        *seen = views;
        match ready {
            Ok(()) => self.component.ready(),
            Err(why) => {
                tracing::warn!(why, "the default model cannot answer");
                self.component.unready(&why);
            }
        }
        Ok(())
    }
}

//! The files of a version, read within the budget of a load and opened on a thread of their own.

use forebay_artefact::{Fault, LoadBudget, VersionFiles};

use super::{Registry, Source};
use crate::{RegistryError, RegistryOptions, VersionMeta};

impl Registry {
    pub(super) fn read<T: Send>(
        &self,
        name: &str,
        version: u32,
        open: impl FnOnce(&VersionFiles) -> Result<T, Fault> + Send,
    ) -> Result<T, RegistryError> {
        let budget = self.budget(name, version);
        let opened = match &self.source {
            Source::Local(local) => apart(name, || open(&local.read(name, version, budget)?)),
            Source::Mlflow(server) => {
                let files = server.read(name, version, budget)?;
                apart(name, || open(&files))
            }
        };
        opened.map_err(|fault| artefact(name, version, fault))
    }

    fn budget(&self, name: &str, version: u32) -> LoadBudget {
        let named = self.model(name).is_none_or(|model| model.is_named(version));
        RegistryOptions::load_budget(self.load_limit, named)
    }

    /// As `read`, without the model: its file is neither fetched nor kept in memory.
    pub(super) fn read_description(
        &self,
        name: &str,
        version: u32,
        open: impl FnOnce(&VersionFiles) -> Result<VersionMeta, Fault> + Send,
    ) -> Result<VersionMeta, RegistryError> {
        let budget = self.budget(name, version);
        let opened = match &self.source {
            Source::Local(local) => apart(name, || open(&local.read_description(name, version, budget)?)),
            Source::Mlflow(server) => {
                let files = server.read_description(name, version, budget)?;
                apart(name, || open(&files))
            }
        };
        opened.map_err(|fault| artefact(name, version, fault))
    }
}

pub(super) fn artefact(name: &str, version: u32, fault: Fault) -> RegistryError {
    RegistryError::Artefact { model: name.to_owned(), version, fault }
}

/// Runs `open` on a separate thread; see [`Registry::load`].
pub(super) fn apart<T: Send>(place: &str, open: impl FnOnce() -> Result<T, Fault> + Send) -> Result<T, Fault> {
    let opened = std::thread::scope(|scope| scope.spawn(open).join());
    opened.unwrap_or_else(|_| Err(Fault::new(place, "reading it failed unexpectedly")))
}

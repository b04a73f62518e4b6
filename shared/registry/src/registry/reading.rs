//! The files of a version, read within the budget of a load and opened on a thread of their own.

use std::io;
use std::path::{Path, PathBuf};

use forebay_artefact::{Fault, LoadBudget, VersionFiles};

use super::{Registry, Source};
use crate::mlflow::{ArtifactFiles, MlflowRegistry};
use crate::{ModelUri, RegistryError, RegistryOptions, VersionMeta};

impl Registry {
    /// Writes the files of a model that need not be registered into a folder of their own below `folder`, from which they
    /// can be served; the folder. While the server does not respond, those of the last call are used.
    ///
    /// # Errors
    /// As [`Registry::load_uri`], or an error of the file system.
    pub fn keep_unregistered(&self, uri: &ModelUri, folder: &Path) -> Result<PathBuf, RegistryError> {
        let server = self.server_of(uri)?;
        let place =
            blake3::Hasher::new().update(self.location().as_bytes()).update(&server.identity_of(uri)).finalize();
        let kept = folder.join(&place.to_hex()[..32]);
        match server.unregistered_files(uri, &RegistryOptions::load_budget(self.load_limit, true)) {
            Ok(files) => {
                let written = write(&kept, &files);
                let failed = |error: io::Error| RegistryError::Io {
                    path: kept.display().to_string(),
                    reason: error.to_string(),
                };
                written.map_err(failed)?;
            }
            Err(error) if error.is_unreachable() && kept.join("MLmodel").is_file() => {
                tracing::warn!(model = %uri, %error, "model registry does not respond, using the model's last files");
            }
            Err(error) => return Err(error),
        }
        Ok(kept)
    }

    /// The server, which alone has models that are not registered.
    pub(super) fn server_of(&self, uri: &ModelUri) -> Result<&MlflowRegistry, RegistryError> {
        match &self.source {
            Source::Mlflow(server) => Ok(server),
            Source::Local(_) => {
                let reason = "is not registered, and only an MLflow server has such models".to_owned();
                Err(RegistryError::Uri { uri: uri.to_string(), reason })
            }
        }
    }

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

/// Writes files into a folder that holds nothing else, each under another name first: a process may be reading them. What
/// is there besides belonged to a former model of the name.
fn write(folder: &Path, files: &ArtifactFiles) -> io::Result<()> {
    for (path, bytes) in files {
        let to = folder.join(path);
        if std::fs::read(&to).is_ok_and(|there| there == *bytes) {
            continue;
        }
        if let Some(parent) = to.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let part = to.with_extension(format!("part-{}", std::process::id()));
        std::fs::write(&part, bytes)?;
        std::fs::rename(&part, &to)?;
    }
    for entry in std::fs::read_dir(folder)?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let belongs = |path: &String| path.split('/').next() == Some(&*name);
        if files.keys().any(belongs) {
            continue;
        }
        let is_folder = entry.file_type()?.is_dir();
        if is_folder { std::fs::remove_dir_all(entry.path())? } else { std::fs::remove_file(entry.path())? }
    }
    Ok(())
}

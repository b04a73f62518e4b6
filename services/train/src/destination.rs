//! Where a finished model goes: a folder, a folder registry, an MLflow server.

use std::path::PathBuf;

use crate::folder_registry::FolderRegistry;
use crate::mlflow::{MlflowAccess, Tracking};
use crate::model_folder::{Files, Staged, write};
use crate::training_arguments::DestinationArgs;

/// Where the model goes. It is checked before the training, so that a typing mistake does not waste one.
#[derive(Debug)]
pub(crate) enum Destination {
    /// Nothing is kept.
    Nowhere,
    Folder {
        path: PathBuf,
        replace: bool,
    },
    Registry(FolderRegistry),
    Server(Box<Tracking>),
}

impl Destination {
    /// Reads the arguments and checks the destination.
    ///
    /// # Errors
    /// A text for arguments that do not fit, a folder that is in the way, a server that does not answer.
    pub(crate) fn open(keeping: &DestinationArgs, access: &MlflowAccess) -> Result<Self, String> {
        let DestinationArgs { output, register, registry, alias, stage, force } = keeping;
        let Some(name) = register else {
            let Some(path) = output.clone() else { return Ok(Self::Nowhere) };
            let taken = path.exists() && (!path.is_dir() || path.read_dir().is_ok_and(|mut d| d.next().is_some()));
            if taken && !force {
                return Err(format!("{} exists; --force replaces it", path.display()));
            }
            if taken && !path.join("MLmodel").is_file() {
                return Err(format!("{} is no model folder, it is not replaced", path.display()));
            }
            return Ok(Self::Folder { path, replace: taken });
        };
        let folder =
            |path: PathBuf| FolderRegistry::open(path, name, alias.as_deref(), stage.as_deref()).map(Self::Registry);
        match (output, registry.as_deref()) {
            (Some(path), _) => folder(path.clone()),
            (None, Some(url)) if url.starts_with("http://") || url.starts_with("https://") => {
                Ok(Self::Server(Box::new(Tracking::open(url, access, name, alias.as_deref(), stage.as_deref())?)))
            }
            (None, Some(url)) => match url.strip_prefix("file:") {
                Some(path) => folder(PathBuf::from(path)),
                None => Err(format!("--registry {url:?} is neither http(s)://... nor file:FOLDER")),
            },
            (None, None) => Err("--register needs --output FOLDER, --registry URL or MLFLOW_TRACKING_URI".to_owned()),
        }
    }

    /// Stores the model and returns where it is. `params` and `metrics` are logged where that is possible.
    ///
    /// # Errors
    /// A text; nothing half-written is left under the final name.
    pub(crate) fn keep(&self, files: &Files, log: &crate::mlflow::RunLog) -> Result<String, String> {
        match self {
            Self::Nowhere => Ok("nothing kept; --output FOLDER writes a model folder".to_owned()),
            Self::Folder { path, replace } => {
                let staged = Staged::beside(path)?;
                write(files, &staged.path)?;
                if *replace {
                    std::fs::remove_dir_all(path).map_err(|e| format!("{}: {e}", path.display()))?;
                }
                staged.rename(path)?;
                Ok(format!("model folder {}", path.display()))
            }
            Self::Registry(registry) => registry.add(files),
            Self::Server(tracking) => tracking.publish(files, log),
        }
    }
}

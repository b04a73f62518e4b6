//! Where a model named on the command line comes from: a folder, a file, or a version of a registry.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use forebay_model::{LoadedVersion, load_file, load_folder};
use forebay_registry::{ModelSettings, ModelUri, Registry, RegistryError};

use crate::columns::name_list;

/// One model, or a registry of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ModelSource {
    /// A folder with an `MLmodel` file.
    Folder(PathBuf),
    /// A folder of such folders, laid out as a registry.
    Registry(PathBuf),
    /// A single model file.
    File(PathBuf),
    /// `models:/NAME/VERSION`, `models:/m-ID`, `runs:/RUN/MODEL` and MLflow's other forms.
    Uri(ModelUri),
    /// A model of the registry, with what a request may name: a version, alias or stage.
    Named { name: String, requested: Option<String> },
}

impl FromStr for ModelSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(address) = text.strip_prefix("models:/") {
            return Self::address(text, address);
        }
        if text.starts_with("runs:/") {
            return text.parse().map(Self::Uri).map_err(|error: RegistryError| error.to_string());
        }
        let path = Path::new(text.strip_prefix("file:").unwrap_or(text));
        if path.join("MLmodel").is_file() {
            return Ok(Self::Folder(path.to_owned()));
        }
        if path.is_dir() {
            return match is_registry(path) {
                true => Ok(Self::Registry(path.to_owned())),
                false => {
                    Err(format!("{text}: the folder holds no MLmodel file, and no MODEL/VERSION/MLmodel below it"))
                }
            };
        }
        if path.is_file() {
            return Ok(Self::File(path.to_owned()));
        }
        Err(format!("{text}: no such file or folder; a model of the registry is written models:/NAME/VERSION"))
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) | Self::Registry(path) | Self::File(path) => path.display().fmt(f),
            Self::Uri(uri) => uri.fmt(f),
            Self::Named { name, requested: None } => write!(f, "models:/{name}"),
            Self::Named { name, requested: Some(requested) } => write!(f, "models:/{name}/{requested}"),
        }
    }
}

/// Whether a folder two levels below `path` holds a model version. Only a limited number of folders is checked, since
/// any other folder may be large.
fn is_registry(path: &Path) -> bool {
    const LOOKED_AT: usize = 1000;
    let folders = |path: &Path| {
        std::fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .take(LOOKED_AT)
            .map(|it| it.path())
            .filter(|it| it.is_dir())
    };
    folders(path).flat_map(|model| folders(&model)).take(LOOKED_AT).any(|version| version.join("MLmodel").is_file())
}

impl ModelSource {
    /// Reads and compiles the model; `models` says where the registry is.
    ///
    /// # Errors
    /// What is wrong with the model, and where.
    pub(crate) fn load(&self, models: &ModelSettings) -> Result<LoadedVersion, String> {
        Ok(self.read(models)?.0)
    }

    /// Checks that a registered model has the version, alias or stage that the address names, without reading its files. A
    /// registry that does not answer is left to the start, which waits for it.
    ///
    /// # Errors
    /// That the registry has no such model or version.
    pub(crate) fn check(&self, models: &ModelSettings) -> Result<(), String> {
        let (name, requested) = match self {
            Self::Named { name, requested } => (name.as_str(), requested.clone()),
            Self::Uri(uri) => match uri.name() {
                Some(name) => (name, uri.requested()),
                None => return Ok(()),
            },
            Self::Folder(_) | Self::File(_) | Self::Registry(_) => return Ok(()),
        };
        let mut options = models.registry_options();
        options.models = Some(vec![name.to_owned()]);
        match Registry::open_with(&options) {
            Ok(registry) if registry.status().stale.is_none() => {
                resolve(&registry, name, requested.as_deref()).map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// As [`ModelSource::load`], with the version's tag `forebay.output`: `given`, or that of the registry.
    ///
    /// # Errors
    /// As [`ModelSource::load`], or that the registry does not say.
    pub(crate) fn load_tagged(
        &self,
        models: &ModelSettings,
        given: Option<&str>,
    ) -> Result<(LoadedVersion, Option<String>), String> {
        let (loaded, registry) = self.read(models)?;
        let tag = match (given, registry) {
            (Some(given), _) => Some(given.to_owned()),
            // a logged model is no version, so that it has number 0 and no tags
            (None, Some(registry)) if loaded.version > 0 => {
                registry.output_tag(&loaded.name, loaded.version).map_err(|error| error.to_string())?
            }
            _ => None,
        };
        Ok((loaded, tag))
    }

    /// The model, and the registry that has it.
    fn read(&self, models: &ModelSettings) -> Result<(LoadedVersion, Option<Registry>), String> {
        let alone = |loaded| (loaded, None);
        match self {
            Self::Folder(path) => load_folder(path).map(alone).map_err(|fault| format!("{self}: {fault}")),
            Self::File(path) => load_file(path).map(alone).map_err(|fault| format!("{self}: {fault}")),
            Self::Registry(path) => {
                let path = path.display();
                Err(format!(
                    "{path}: is a registry, not a model; take a folder PATH/MODEL/VERSION of it, or --registry file:{path} with models:/MODEL/VERSION"
                ))
            }
            Self::Uri(uri) => {
                let registry = open_registry_of(uri, models)?;
                let loaded = registry.load_uri(uri, forebay_model::open).map_err(|error| error.to_string())?;
                Ok((loaded, Some(registry)))
            }
            Self::Named { name, requested } => {
                let mut options = models.registry_options();
                // an MLflow server lists what is served; this one is requested by name
                options.models = Some(vec![name.clone()]);
                let registry = Registry::open_with(&options).map_err(|error| error.to_string())?;
                let version = resolve(&registry, name, requested.as_deref())?;
                let loaded = registry.load(name, version, forebay_model::open).map_err(|error| error.to_string())?;
                Ok((loaded, Some(registry)))
            }
        }
    }

    /// Parses what follows `models:/`. Beyond MLflow's forms, a name alone is its default version, and `v1` is version
    /// 1.
    fn address(text: &str, address: &str) -> Result<Self, String> {
        let named = |name: &str, requested: Option<&str>| Self::Named {
            name: name.to_owned(),
            requested: requested.map(str::to_owned),
        };
        match address.trim_matches('/').split_once('/') {
            None if !address.contains('@') && !address.starts_with("m-") => Ok(named(address.trim_matches('/'), None)),
            Some((name, version)) if version.strip_prefix(['v', 'V']).is_some_and(|n| n.parse::<u32>().is_ok()) => {
                Ok(named(name, Some(version)))
            }
            _ => text.parse().map(Self::Uri).map_err(|error: RegistryError| error.to_string()),
        }
    }
}

/// Opens the registry of the settings.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn open_registry(models: &ModelSettings) -> Result<Registry, String> {
    Registry::open_with(&models.registry_options()).map_err(|error| error.to_string())
}

/// Opens the registry that has the model at `uri`; for one that need not be registered nothing is listed.
fn open_registry_of(uri: &ModelUri, models: &ModelSettings) -> Result<Registry, String> {
    let mut options = models.registry_options();
    if uri.unregistered_name().is_some() {
        options.models = Some(Vec::new());
    }
    Registry::open_with(&options).map_err(|error| error.to_string())
}

/// Fetches a model that need not be registered into the cache, to be served from there; its folder.
///
/// # Errors
/// Why it cannot be read, or that there is no cache.
pub(crate) fn keep_unregistered(uri: &ModelUri, models: &ModelSettings) -> Result<PathBuf, String> {
    let cache = models.cache_folder();
    let cache = cache.ok_or_else(|| format!("{uri}: is served from the cache, which models.cache_dir turns off"))?;
    let registry = open_registry_of(uri, models)?;
    registry.keep_unregistered(uri, &cache.join("served")).map_err(|error| error.to_string())
}

/// Opens a folder as a registry.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn open_folder(path: &Path) -> Result<Registry, String> {
    Registry::open(&format!("file:{}", path.display())).map_err(|error| error.to_string())
}

/// The version that `requested` names. There is no fallback for one that does not exist.
fn resolve(registry: &Registry, name: &str, requested: Option<&str>) -> Result<u32, String> {
    let model = registry.model(name).ok_or_else(|| {
        let known: Vec<String> = registry.models().into_iter().map(|model| model.name).collect();
        format!("the registry {} has no model {name:?}; it has {}", registry.location(), name_list(&known, ", "))
    })?;
    let resolution = model.resolve(requested).map_err(|error| error.to_string())?;
    match requested.filter(|_| !resolution.exact) {
        Some(requested) => Err(format!("model {name} has no version, alias or stage {requested:?}")),
        None => Ok(resolution.version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_address() {
        let registry = Registry::open("sample").unwrap();
        let get = |form: &str| match format!("models:/diabetes-rf-model{form}").parse::<ModelSource>()? {
            ModelSource::Uri(uri) => {
                registry.resolve_uri(&uri).map(|(_, version)| version).map_err(|error| error.to_string())
            }
            ModelSource::Named { name, requested } => resolve(&registry, &name, requested.as_deref()),
            other => Err(format!("{other:?}")),
        };
        let found =
            ["", "/1", "/v2", "@champion", "/latest", "/production", "/Archived"].map(|form| get(form).unwrap());
        assert_eq!(found, [3, 1, 2, 3, 3, 3, 1]);
        assert!(get("/9").is_err() && get("@absent").is_err() && get("/v9").is_err() && get("/1/2").is_err());
        assert!(resolve(&registry, "other", None).unwrap_err().contains("it has diabetes-rf-model"));
        assert!(matches!(
            "models:/m-0123456789abcdef0123456789abcdef".parse(),
            Ok(ModelSource::Uri(ModelUri::LoggedModel { .. }))
        ));
        assert!(matches!("runs:/62ab/model".parse(), Ok(ModelSource::Uri(ModelUri::Run { .. }))));
        assert!("runs:/62ab".parse::<ModelSource>().unwrap_err().contains("names no model of a run"));
    }

    #[test]
    fn paths_are_distinguished() {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/model/sample");
        let target = |below: &str| sample.join(below).display().to_string().parse::<ModelSource>();
        assert!(matches!(target("").unwrap(), ModelSource::Registry(_)));
        assert!(matches!(target("diabetes-rf-model/1").unwrap(), ModelSource::Folder(_)));
        assert!(matches!(target("diabetes-rf-model/2/model.onnx").unwrap(), ModelSource::File(_)));
        assert!(target("diabetes-rf-model/1/model.pkl").unwrap_err().contains("no such file or folder"));
        assert!(target("../../testkit/registry/diabetes/2/preprocessing").is_ok());
    }
}

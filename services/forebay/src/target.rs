//! What a command line means by a model: a folder, a file, or a version of a registry.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use forebay_model::{LoadedVersion, Registry, RegistryError, load_file, load_folder};
use forebay_runtime::Shared;

/// One model, or a registry of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A folder with an `MLmodel` file.
    Folder(PathBuf),
    /// A folder of such folders, laid out as a registry.
    Registry(PathBuf),
    /// A model file by itself.
    File(PathBuf),
    /// `models:/NAME/VERSION` and its other forms.
    Uri(String),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("models:/") {
            return Ok(Self::Uri(text.to_owned()));
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
        Err(format!("{text}: no such file or folder; a model of the registry is written models:/{text}/VERSION"))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) | Self::Registry(path) | Self::File(path) => path.display().fmt(f),
            Self::Uri(uri) => f.write_str(uri),
        }
    }
}

/// Whether a model's version stands somewhere two levels below. A folder of anything else may be large: few are looked at.
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

impl Target {
    /// Reads and compiles the model; `shared` says where the registry is.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub(crate) fn load(&self, shared: &Shared) -> Result<LoadedVersion, String> {
        match self {
            Self::Folder(path) => load_folder(path).map_err(|fault| format!("{self}: {fault}")),
            Self::File(path) => load_file(path).map_err(|fault| format!("{self}: {fault}")),
            Self::Registry(path) => {
                let path = path.display();
                Err(format!(
                    "{path}: is a registry, not a model; take a folder PATH/MODEL/VERSION of it, or --registry file:{path} with models:/MODEL/VERSION"
                ))
            }
            Self::Uri(uri) => {
                let registry = open_registry(shared)?;
                let (name, version) = resolve(&registry, uri)?;
                registry.load(&name, version).map_err(|error| error.to_string())
            }
        }
    }
}

/// Opens the registry of the settings.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn open_registry(shared: &Shared) -> Result<Registry, String> {
    Registry::open(&shared.models.registry).map_err(|error: RegistryError| error.to_string())
}

/// Opens a folder as a registry.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn open_folder(path: &Path) -> Result<Registry, String> {
    Registry::open(&format!("file:{}", path.display())).map_err(|error| error.to_string())
}

/// Name and version behind `models:/NAME`, `/NAME/VERSION`, `/NAME/STAGE`, `/NAME/latest` or `/NAME@ALIAS`.
///
/// # Errors
/// A model or version that the registry does not have.
fn resolve(registry: &Registry, uri: &str) -> Result<(String, u32), String> {
    let path = uri.strip_prefix("models:/").unwrap_or(uri).trim_matches('/');
    let (name, asked) = match (path.split_once('@'), path.split_once('/')) {
        (Some((name, alias)), _) => (name, Some(alias)),
        (None, Some((name, version))) => (name, Some(version)),
        (None, None) => (path, None),
    };
    let model = registry.model(name).ok_or_else(|| {
        let known: Vec<String> = registry.models().into_iter().map(|model| model.name).collect();
        format!("the registry {} has no model {name:?}; it has {}", registry.location(), known.join(", "))
    })?;
    let resolution = model.resolve(asked).map_err(|error| error.to_string())?;
    match asked.filter(|_| !resolution.exact) {
        Some(asked) => Err(format!("model {name} has no version, alias or stage {asked:?}")),
        None => Ok((name.to_owned(), resolution.version)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_uri() {
        let registry = Registry::open("sample").unwrap();
        let get = |uri: &str| resolve(&registry, uri).map(|(_, version)| version);
        let uris = ["", "/1", "/v2", "@champion", "/latest", "/production", "/Archived"];
        let found: Vec<u32> = uris.iter().map(|it| get(&format!("models:/diabetes-rf-model{it}")).unwrap()).collect();
        assert_eq!(found, [3, 1, 2, 3, 3, 3, 1]);
        assert!(get("models:/diabetes-rf-model/9").unwrap_err().contains("no version, alias or stage \"9\""));
        assert!(get("models:/other/1").unwrap_err().contains("it has diabetes-rf-model"));
    }

    #[test]
    fn paths_are_told_apart() {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/model/sample");
        let target = |below: &str| sample.join(below).display().to_string().parse::<Target>();
        assert!(matches!(target("").unwrap(), Target::Registry(_)));
        assert!(matches!(target("diabetes-rf-model/1").unwrap(), Target::Folder(_)));
        assert!(matches!(target("diabetes-rf-model/2/model.onnx").unwrap(), Target::File(_)));
        assert!(target("diabetes-rf-model/1/model.pkl").unwrap_err().contains("no such file or folder"));
        assert!(target("diabetes-rf-model/3/preprocessing").is_ok());
    }
}

//! Models that lie anywhere, seen as a registry: each is version 1 of a model, a folder with `MLmodel` or a file alone.

use std::path::{Path, PathBuf};

use crate::Fault;
use crate::store::{FileStamp, Opened, file_stamp, open_file, open_regular, walk};

/// The number of the one version that a path is.
const VERSION: &str = "1";
/// The description that a model file without one is given.
const DESCRIPTION: &str = "MLmodel";

/// A model by its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPath {
    /// Name of the model.
    pub name: String,
    /// A model folder or a model file.
    pub path: PathBuf,
}

impl ModelPath {
    /// The files of the model below `path`, a path in the registry; `None` if it is not of this model.
    pub(crate) fn files_below(&self, path: &str) -> Result<Option<Vec<FileStamp>>, Fault> {
        let prefix = match self.below(path) {
            Some("") => format!("{VERSION}/"),
            Some(VERSION) => String::new(),
            _ => return Ok(None),
        };
        let mut files = self.files()?;
        files.iter_mut().for_each(|file| file.path.insert_str(0, &prefix));
        Ok(Some(files))
    }

    /// The file at `path` in the registry.
    pub(crate) fn open(&self, path: &str) -> Result<Option<Opened>, Fault> {
        let Some(file) = self.below(path).and_then(|below| below.strip_prefix(VERSION)?.strip_prefix('/')) else {
            return Ok(None);
        };
        if self.path.is_dir() {
            return Ok(open_file(&self.path, file)?.map(Opened::File));
        }
        let name = self.file_name();
        match file {
            DESCRIPTION => Ok(Some(Opened::Owned(description(&name).into_bytes()))),
            _ if file == name => open_regular(&self.path, file).map(|file| Some(Opened::File(file))),
            _ => Ok(None),
        }
    }

    /// The names of the folders below `path` in the registry.
    pub(crate) fn folders_below(&self, path: &str) -> Option<String> {
        match path {
            "" => Some(self.name.clone()),
            _ => self.below(path)?.is_empty().then(|| VERSION.to_owned()),
        }
    }

    /// What lies below the model's own folder in the registry: `""` for that folder itself.
    fn below<'p>(&self, path: &'p str) -> Option<&'p str> {
        let rest = path.strip_prefix(self.name.as_str())?;
        if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
    }

    fn files(&self) -> Result<Vec<FileStamp>, Fault> {
        if self.path.is_dir() {
            return walk(&self.path, "");
        }
        let name = self.file_name();
        let file = file_stamp(&self.path, name.clone())?;
        let len = description(&name).len() as u64;
        Ok(vec![FileStamp { path: DESCRIPTION.to_owned(), len, modified: file.modified }, file])
    }

    fn file_name(&self) -> String {
        self.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// The name of a model that is given by its path alone: the nearest part of it that says something. A file's name
    /// counts without its extension; `model` and the number of a version say nothing.
    pub fn name_of(path: &Path) -> String {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let without_extension = if absolute.is_dir() { absolute.clone() } else { absolute.with_extension("") };
        let names = without_extension.ancestors().filter_map(|part| part.file_name()?.to_str().map(str::to_owned));
        let says_something = |name: &String| name != "model" && name.parse::<u32>().is_err();
        let names: Vec<String> = names.collect();
        names.iter().find(|name| says_something(name)).or(names.first()).cloned().unwrap_or_else(|| "model".to_owned())
    }
}

/// The description of a model file, in JSON, which YAML includes.
fn description(file: &str) -> String {
    let extension = file.rsplit_once('.').map_or("", |(_, extension)| extension);
    let (flavor, key) = match extension.to_ascii_lowercase().as_str() {
        "onnx" => ("onnx", "data"),
        "bpk" | "safetensors" => ("burn", "data"),
        "cbm" | "cb" => ("catboost", "data"),
        "txt" | "lgb" => ("lightgbm", "data"),
        "ubj" | "json" | "xgb" | "deprecated" => ("xgboost", "data"),
        _ => ("sklearn", "pickled_model"),
    };
    serde_json::json!({ "flavors": { flavor: { key: file } } }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LoadBudget, MlModel, Store, VersionFiles};

    fn sample(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/sample/diabetes-rf-model").join(path)
    }

    #[test]
    fn a_folder_and_a_file_are_versions_of_two_models() {
        let path = |name: &str, path: &str| ModelPath { name: name.to_owned(), path: sample(path) };
        let store = Store::Paths([path("forest", "1"), path("trees", "2/model.onnx")].into());
        assert_eq!(store.folders("").unwrap(), ["forest", "trees"]);
        assert_eq!((store.folders("trees").unwrap(), store.folders("none").unwrap()), (vec!["1".into()], vec![]));
        let forest = VersionFiles::read(&store, "forest/1", "forest", 1, LoadBudget::default()).unwrap();
        assert_eq!(forest.describe().unwrap().1, "model.skops");
        let trees = VersionFiles::read(&store, "trees/1", "trees", 1, LoadBudget::default()).unwrap();
        let (described, file) = trees.describe().unwrap();
        assert_eq!((described.flavor.as_str(), file.as_str()), ("onnx", "model.onnx"));
        assert!(!trees.get("model.onnx").unwrap().is_empty());
        assert_eq!(store.read("trees/1/other", 1).unwrap(), None);
        assert!(store.files("trees/1").unwrap().iter().all(|file| file.modified > 0 && file.len > 0));
    }

    #[test]
    fn a_model_has_the_name_of_its_path() {
        assert_eq!(ModelPath::name_of(&sample("1")), "diabetes-rf-model");
        assert_eq!(ModelPath::name_of(Path::new("/models/churn.pkl")), "churn");
        assert_eq!(ModelPath::name_of(Path::new("/models/churn/model.pkl")), "churn");
    }

    #[test]
    fn a_description_is_one_that_is_read() {
        for (file, flavor) in [("a.pkl", "sklearn"), ("a \"b\".joblib", "sklearn"), ("m.ubj", "xgboost")] {
            let parsed = MlModel::parse(description(file).as_bytes()).unwrap();
            assert_eq!((parsed.flavor.as_str(), parsed.file.as_deref()), (flavor, Some(file)));
        }
    }
}

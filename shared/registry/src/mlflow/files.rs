//! Fetches the files of a version that reading a model may need, bounded in depth, number and size.

use std::collections::BTreeMap;

use forebay_artefact::{LoadBudget, MlModel, yaml};

use super::artifacts::{ArtifactEntry, ArtifactLocation};
use super::client::MlflowClient;
use crate::RegistryError;

/// The files of one version, by path in its folder.
pub(crate) type ArtifactFiles = BTreeMap<String, Vec<u8>>;

/// Largest number of files of a version.
const MAX_FILES: usize = 200;
/// Largest depth of nested folders.
const MAX_DEPTH: usize = 4;
/// Files that only Python needs.
const PYTHON_FILES: [&str; 5] =
    ["conda.yaml", "python_env.yaml", "requirements.txt", "serving_input_example.json", "registered_model_meta"];
/// Folders that only Python needs.
const PYTHON_FOLDERS: [&str; 2] = ["code", "metadata"];
/// Folder of the separate preprocessing artefact of a version.
const PREPROCESSING: &str = "preprocessing";

/// Fetches every file below `place`, and the separate preprocessing artefact if there is one. Their sizes are taken from
/// `budget`.
pub(super) fn fetch(
    client: &MlflowClient,
    place: &ArtifactLocation,
    preprocessing: Option<&str>,
    budget: &LoadBudget,
) -> Result<ArtifactFiles, RegistryError> {
    Fetcher { client, files: ArtifactFiles::new(), budget, described: false }.fetch(place, preprocessing)
}

/// As [`fetch`], but fetches only `MLmodel` and the preprocessing artefact: all other files are empty.
pub(super) fn fetch_description(
    client: &MlflowClient,
    place: &ArtifactLocation,
    preprocessing: Option<&str>,
    budget: &LoadBudget,
) -> Result<ArtifactFiles, RegistryError> {
    Fetcher { client, files: ArtifactFiles::new(), budget, described: true }.fetch(place, preprocessing)
}

/// Fetches only `MLmodel`.
pub(super) fn fetch_mlmodel(client: &MlflowClient, place: &ArtifactLocation) -> Result<Vec<u8>, RegistryError> {
    client.download(&place.file("MLmodel"), yaml::MAX_BYTES as u64, None)
}

struct Fetcher<'c> {
    client: &'c MlflowClient,
    files: ArtifactFiles,
    budget: &'c LoadBudget,
    /// Whether only what describes the version is fetched.
    described: bool,
}

impl Fetcher<'_> {
    fn fetch(mut self, place: &ArtifactLocation, preprocessing: Option<&str>) -> Result<ArtifactFiles, RegistryError> {
        self.folder(place, "")?;
        if let Some(uri) = preprocessing {
            self.files.retain(|path, _| !path.starts_with("preprocessing/"));
            self.preprocessing(uri)?;
        }
        Ok(self.files)
    }

    fn folder(&mut self, place: &ArtifactLocation, into: &str) -> Result<(), RegistryError> {
        match self.listed(place)? {
            Some(wanted) => wanted.iter().try_for_each(|file| self.file(place, &file.path, file.size, into)),
            None => self.named(place, into),
        }
    }

    /// Fetches every file below `place`, or nothing where it cannot be listed.
    fn listed(&self, place: &ArtifactLocation) -> Result<Option<Vec<ArtifactEntry>>, RegistryError> {
        let (mut wanted, mut folders) = (Vec::new(), vec![(String::new(), 0)]);
        while let Some((dir, depth)) = folders.pop() {
            let Some(found) = place.list(self.client, &dir)? else { return Ok(None) };
            for entry in found {
                if dir.is_empty() && is_for_python(&entry) {
                    continue;
                }
                if entry.is_dir && depth < MAX_DEPTH {
                    folders.push((entry.path, depth + 1));
                } else if !entry.is_dir {
                    wanted.push(entry);
                }
                if wanted.len() + folders.len() > MAX_FILES {
                    return Err(self.too_much(place, format!("more than {MAX_FILES} files")));
                }
            }
        }
        Ok(Some(wanted))
    }

    /// Fetches the files that `MLmodel` names, one by one. A missing file is reported when the model is read.
    fn named(&mut self, place: &ArtifactLocation, into: &str) -> Result<(), RegistryError> {
        self.file(place, "MLmodel", None, into)?;
        let mlmodel = self.files.get(&joined(into, "MLmodel")).map(|bytes| MlModel::parse(bytes));
        let Some(Ok(mlmodel)) = mlmodel else { return Ok(()) };
        if let Some(file) = &mlmodel.file {
            self.file(place, file, None, into)?;
        }
        let optional = mlmodel.input_example.iter().map(String::as_str).chain(["example_output.json"]);
        for file in optional {
            self.optional(place, file, into)?;
        }
        if into.is_empty() && self.optional(place, "preprocessing/MLmodel", into)? {
            let parsed = self.files.get("preprocessing/MLmodel").map(|bytes| MlModel::parse(bytes));
            if let Some(Ok(MlModel { file: Some(file), .. })) = parsed {
                self.file(place, &joined(PREPROCESSING, &file), None, into)?;
            }
        }
        Ok(())
    }

    /// Fetches a file that may be absent. Stores report that as 404, or as 500 when the server fails on it.
    fn optional(&mut self, place: &ArtifactLocation, file: &str, into: &str) -> Result<bool, RegistryError> {
        match self.file(place, file, None, into) {
            Ok(()) => Ok(true),
            Err(error)
                if error.is_missing() || matches!(error, RegistryError::Unreachable { status: Some(500), .. }) =>
            {
                tracing::debug!(file, %error, "optional file is absent");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn file(
        &mut self,
        place: &ArtifactLocation,
        file: &str,
        size: Option<u64>,
        into: &str,
    ) -> Result<(), RegistryError> {
        let path = joined(into, file);
        if self.described && path != "MLmodel" && !path.starts_with("preprocessing/") {
            self.files.insert(path, Vec::new());
            return Ok(());
        }
        let limit = self.budget.left();
        if size.is_some_and(|size| size > limit) {
            let reason = format!("{file} is larger than the {limit} bytes that are left for loading the version");
            return Err(self.too_much(place, reason));
        }
        let bytes = self.client.download(&place.file(file), limit, size)?;
        let taken = self.budget.take(bytes.len() as u64);
        taken.map_err(|error| self.too_much(place, error.to_string()))?;
        self.files.insert(path, bytes);
        Ok(())
    }

    /// Fetches the artefact at `uri`: a model folder, or a single file.
    fn preprocessing(&mut self, uri: &str) -> Result<(), RegistryError> {
        let place = ArtifactLocation::of_uri(self.client, uri)?.ok_or_else(|| RegistryError::Uri {
            uri: uri.to_owned(),
            reason: "cannot be read through the server, expected runs:/, models:/ or mlflow-artifacts:/".to_owned(),
        })?;
        let single = place.split().filter(|(_, file)| is_model_file(file));
        let Some((folder, file)) = single else { return self.folder(&place, PREPROCESSING) };
        self.file(&folder, &file, None, PREPROCESSING)?;
        let mlmodel = serde_json::json!({ "flavors": { "sklearn": { "pickled_model": file } } });
        self.files.insert(joined(PREPROCESSING, "MLmodel"), mlmodel.to_string().into_bytes());
        Ok(())
    }

    fn too_much(&self, place: &ArtifactLocation, reason: String) -> RegistryError {
        RegistryError::Answer { url: format!("{}{}", self.client.base(), place.file("")), reason }
    }
}

fn is_for_python(entry: &ArtifactEntry) -> bool {
    let name = entry.path.as_str();
    match entry.is_dir {
        true => PYTHON_FOLDERS.contains(&name),
        false => PYTHON_FILES.contains(&name) || name.ends_with(".html"),
    }
}

/// Whether this is a fitted object saved as a file rather than as a model folder.
fn is_model_file(name: &str) -> bool {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    ["pkl", "pickle", "joblib", "skops"].contains(&extension)
}

fn joined(folder: &str, file: &str) -> String {
    if folder.is_empty() { file.to_owned() } else { format!("{folder}/{file}") }
}

//! Where the models of a registry are, as the setting `models.registry` says it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use forebay_artefact::{Fault, ModelPath};

use crate::local::LocalRegistry;

/// What the location of models by their paths begins with.
const PATHS: &str = "paths:";

/// Whether a location is the address of an MLflow server.
pub(crate) fn is_server(location: &str) -> bool {
    location.starts_with("http://") || location.starts_with("https://")
}

/// The location of models that lie anywhere, each as version 1 of its name: `paths:` and a JSON object of names and paths.
pub fn location_of_paths(models: &[ModelPath]) -> String {
    let by_name = models.iter().map(|model| (model.name.clone(), model.path.display().to_string().into()));
    format!("{PATHS}{}", serde_json::Value::Object(by_name.collect()))
}

/// Opens a location that is no server.
///
/// # Errors
/// Why it cannot be used. Of several paths the reason names the one.
pub(crate) fn open_local(location: &str) -> Result<LocalRegistry, String> {
    if let Some(models) = location.strip_prefix(PATHS) {
        return model_paths(models).and_then(LocalRegistry::paths).map_err(|fault| fault.to_string());
    }
    let local = if location == "sample" {
        LocalRegistry::sample()
    } else if let Some(path) = location.strip_prefix("file:") {
        LocalRegistry::folder(PathBuf::from(path.strip_prefix("//").unwrap_or(path)))
    } else {
        Err(Fault::new(location, "expected \"sample\", file:PATH, paths:{...} or http(s)://"))
    };
    local.map_err(|fault| fault.reason)
}

fn model_paths(json: &str) -> Result<Vec<ModelPath>, Fault> {
    let models: BTreeMap<String, PathBuf> =
        serde_json::from_str(json).map_err(|error| Fault::new(PATHS, error.to_string()))?;
    Ok(models.into_iter().map(|(name, path)| ModelPath { name, path }).collect())
}

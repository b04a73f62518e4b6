//! Where the models of a registry are, as the setting `models.registry` says it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use forebay_artefact::{Fault, ModelPath};

use crate::local::LocalRegistry;

/// What the location of models by their paths begins with.
const PATHS: &str = "paths:";

/// The location of models in Unity Catalog on Databricks, as MLflow names it. With a colon and the address of the workspace
/// behind it, it is whole.
pub(crate) const UNITY_CATALOG: &str = "databricks-uc";

/// What a location is, for errors. That of models by their paths is for the program alone.
const EXPECTED: &str =
    "expected \"sample\", file:FOLDER, the address of an MLflow server (http:// or https://), or \"databricks-uc\"";

/// Checks the form of a location, without looking whether anything is there.
///
/// # Errors
/// What is expected.
pub(crate) fn check_form(location: &str) -> Result<(), &'static str> {
    let known =
        location == "sample" || is_server(location) || ["file:", PATHS].iter().any(|it| location.starts_with(it));
    if known { Ok(()) } else { Err(EXPECTED) }
}

/// Whether a location is the address of an MLflow server, or Unity Catalog.
pub(crate) fn is_server(location: &str) -> bool {
    location.starts_with("http://") || location.starts_with("https://") || location.starts_with(UNITY_CATALOG)
}

/// The address of the workspace in a location of Unity Catalog.
///
/// # Errors
/// Why it is none.
pub(crate) fn workspace(location: &str) -> Option<Result<&str, String>> {
    let rest = location.strip_prefix(UNITY_CATALOG)?;
    Some(match rest.strip_prefix(':') {
        Some(profile) if profile.starts_with("//") => {
            Err("names a profile of .databrickscfg, which is not read; set DATABRICKS_HOST and DATABRICKS_TOKEN"
                .to_owned())
        }
        Some(address) if !address.is_empty() => Ok(address),
        _ if rest.is_empty() || rest == ":" => Err("needs the address of the workspace: DATABRICKS_HOST".to_owned()),
        _ => Err("expected databricks-uc".to_owned()),
    })
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
        Err(Fault::new(location, EXPECTED))
    };
    local.map_err(|fault| fault.reason)
}

fn model_paths(json: &str) -> Result<Vec<ModelPath>, Fault> {
    let models: BTreeMap<String, PathBuf> =
        serde_json::from_str(json).map_err(|error| Fault::new(PATHS, error.to_string()))?;
    Ok(models.into_iter().map(|(name, path)| ModelPath { name, path }).collect())
}

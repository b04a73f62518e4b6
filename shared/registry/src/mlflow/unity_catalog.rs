//! Unity Catalog of a Databricks workspace: the paths of its calls, which answer as those of MLflow, and the files of its
//! versions through the workspace's Files API, with the token that lists them. No store of a cloud is contacted.
//!
//! The calls are those of `UcModelRegistryStore` and `DatabricksSDKModelsArtifactRepository` in MLflow 3.17.

use super::address::with_query;
use super::client::MlflowClient;
use super::listing::{self, ListedModel, VersionSource};
use super::responses::{ModelVersion, ModelVersions, RegisteredModels};
use crate::RegistryError;

pub(super) const API: &str = "/api/2.0/mlflow/unity-catalog";
/// Path of the call that lists a folder, and of the one that reads a file.
pub(super) const DIRECTORIES: &str = "/api/2.0/fs/directories";
pub(super) const FILES: &str = "/api/2.0/fs/files";
/// Number of entries on one page.
const PAGE: &str = "100";
/// Largest number of pages of one listing. Pages may be empty before the last one.
const MAX_PAGES: usize = 100;

const TOKEN: &str = "the token in DATABRICKS_TOKEN (models.databricks_token) is wrong or has expired";
const RIGHTS: &str = "its owner needs EXECUTE on the model, and USE CATALOG and USE SCHEMA above it";
const NO_FILES: &str = "the Files API has no such file of the model version";

/// The folder of a version in the Files API: `Models/CATALOG/SCHEMA/MODEL/VERSION`.
///
/// # Errors
/// A name that has not three parts.
pub(super) fn folder(name: &str, version: u32) -> Result<String, RegistryError> {
    check_name(name)?;
    Ok(format!("Models/{}/{version}", name.replace('.', "/")))
}

/// Checks that `name` has three parts, which make a path.
///
/// # Errors
/// That it has not.
pub(super) fn check_name(name: &str) -> Result<(), RegistryError> {
    let plain = |part: &str| !part.is_empty() && !part.contains(['/', '\\']) && !part.contains(char::is_control);
    if name.split('.').count() == 3 && name.split('.').all(plain) {
        return Ok(());
    }
    let reason = "a model in Unity Catalog is named CATALOG.SCHEMA.MODEL".to_owned();
    Err(RegistryError::Uri { uri: name.chars().take(200).collect(), reason })
}

/// The newest `keep` versions of a model. The call has no order, so that all pages are read.
pub(super) fn newest_versions(
    client: &MlflowClient,
    name: &str,
    keep: usize,
) -> Result<Vec<ModelVersion>, RegistryError> {
    let filter = format!("name='{}'", name.replace('\'', "\\'"));
    let path = format!("{API}/model-versions/search");
    let mut found = pages(|token| {
        let mut query = vec![("filter", filter.as_str()), ("max_results", PAGE)];
        query.extend((!token.is_empty()).then_some(("page_token", token)));
        let page = client.get::<ModelVersions>(&with_query(&path, &query))?;
        Ok((page.model_versions, page.next_page_token))
    })?;
    found.sort_by_key(|version| std::cmp::Reverse(version.version));
    found.truncate(keep);
    Ok(found)
}

/// Reads the tags of every version that is new or has changed, because the listing has none.
pub(super) fn learn_tags(
    client: &MlflowClient,
    listed: &mut ListedModel,
    before: Option<&ListedModel>,
) -> Result<(), RegistryError> {
    for (number, origin) in &mut listed.versions {
        let known = before.and_then(|before| before.versions.get(number));
        let known = known.filter(|known| known.updated == origin.updated && known.created == origin.created);
        let now = match known {
            Some(known) => known.clone(),
            None => VersionSource::listed(client, listing::one(client, &listed.name, *number)?),
        };
        (origin.preprocessing, origin.output) = (now.preprocessing, now.output);
    }
    Ok(())
}

/// Every model that the token may see, by name.
pub(super) fn names(client: &MlflowClient) -> Result<Vec<String>, RegistryError> {
    let path = format!("{API}/registered-models/search");
    let models = pages(|token| {
        let mut query = vec![("max_results", PAGE)];
        query.extend((!token.is_empty()).then_some(("page_token", token)));
        let page = client.get::<RegisteredModels>(&with_query(&path, &query))?;
        Ok((page.registered_models, page.next_page_token))
    })?;
    Ok(models.into_iter().map(|model| model.name).collect())
}

/// The entries of all pages of a listing.
fn pages<T>(mut page: impl FnMut(&str) -> Result<(Vec<T>, String), RegistryError>) -> Result<Vec<T>, RegistryError> {
    let (mut found, mut token) = (Vec::new(), String::new());
    for _ in 0..MAX_PAGES {
        let (entries, next) = page(&token)?;
        found.extend(entries);
        if next.is_empty() || next == token {
            break;
        }
        token = next;
    }
    Ok(found)
}

/// Adds what a refusal of a workspace usually means.
pub(super) fn explained(error: RegistryError) -> RegistryError {
    let RegistryError::Refused { url, status, code, message } = error else { return error };
    let of_token = ["token", "credential", "expired"].iter().any(|word| message.to_ascii_lowercase().contains(word));
    let why = match status {
        401 => TOKEN,
        400 | 403 if of_token => TOKEN,
        403 => RIGHTS,
        404 if url.contains("/api/2.0/fs/") => NO_FILES,
        _ => return RegistryError::Refused { url, status, code, message },
    };
    RegistryError::Refused { url, status, code, message: format!("{message} ({why})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_three_parts() {
        assert_eq!(folder("main.churn.model", 3).unwrap(), "Models/main/churn/model/3");
        for name in ["model", "a.b", "a.b.c.d", "a..c", "a.b/x.c", "../b.c"] {
            assert!(folder(name, 1).unwrap_err().to_string().contains("CATALOG.SCHEMA.MODEL"), "{name}");
        }
    }
}

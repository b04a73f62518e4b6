//! The part of the small server that answers as a Databricks workspace does: Unity Catalog, and its Files API.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::server::{Answer, Content, Version, complaint, decoded, missing, ok};

impl Content {
    /// The answer to a call of Unity Catalog or of the Files API; `None` for other calls.
    pub(crate) fn catalog(&self, path: &str, query: &BTreeMap<String, String>) -> Option<Answer> {
        let parameter = |name: &str| query.get(name).cloned().unwrap_or_default();
        if let Some(folder) = path.strip_prefix("/api/2.0/fs/directories/") {
            return Some(self.directory(&decoded(folder), &parameter("page_token")));
        }
        if let Some(file) = path.strip_prefix("/api/2.0/fs/files/") {
            let bytes = self.files.get(&decoded(file)).cloned();
            return Some(
                bytes.map_or_else(|| complaint(404, "NOT_FOUND", "The file was not found."), |bytes| (200, bytes)),
            );
        }
        let call = path.strip_prefix("/api/2.0/mlflow/unity-catalog/")?;
        let (name, number) = (parameter("name"), parameter("version").parse().unwrap_or(0));
        Some(match call {
            "registered-models/get" => match self.models.contains_key(&name) {
                true => {
                    let aliases = self.aliases.get(&name).into_iter().flatten();
                    let aliases: Vec<Value> = aliases
                        .map(|(alias, version)| json!({ "alias": alias, "version": version.to_string() }))
                        .collect();
                    ok(
                        &json!({ "registered_model": { "name": name, "aliases": aliases, "last_updated_timestamp": 5 } }),
                    )
                }
                false => missing(&format!("Routine or Model '{name}' does not exist.")),
            },
            "registered-models/search" => {
                let models: Vec<Value> = self.models.keys().map(|name| json!({ "name": name })).collect();
                one_a_page("registered_models", &models, &parameter("page_token"))
            }
            "model-versions/search" => {
                assert!(!query.contains_key("order_by"), "Unity Catalog refuses an order");
                let filter = parameter("filter");
                let name = filter.strip_prefix("name='").and_then(|name| name.strip_suffix('\'')).unwrap();
                let versions = self.models.get(name).into_iter().flatten();
                let versions: Vec<Value> =
                    versions.map(|(number, version)| entry(version, name, *number, false)).collect();
                one_a_page("model_versions", &versions, &parameter("page_token"))
            }
            "model-versions/get" => match self.models.get(&name).and_then(|versions| versions.get(&number)) {
                Some(version) => ok(&json!({ "model_version": entry(version, &name, number, true) })),
                None => missing(&format!("Model version '{name}' version {number} does not exist.")),
            },
            other => complaint(404, "ENDPOINT_NOT_FOUND", &format!("No API found for 'GET {other}'")),
        })
    }

    fn directory(&self, folder: &str, token: &str) -> Answer {
        let prefix = format!("{}/", folder.trim_end_matches('/'));
        let mut entries = BTreeMap::new();
        for (path, bytes) in &self.files {
            let Some(rest) = path.strip_prefix(&prefix) else { continue };
            let entry = match rest.split_once('/') {
                Some((name, _)) => json!({ "path": format!("/{prefix}{name}"), "is_directory": true, "name": name }),
                None => {
                    json!({ "path": format!("/{path}"), "is_directory": false, "file_size": bytes.len(), "name": rest })
                }
            };
            entries.insert(entry["name"].to_string(), entry);
        }
        match entries.is_empty() {
            true => complaint(404, "NOT_FOUND", "The directory being accessed is not found."),
            false => one_a_page("contents", &entries.into_values().collect::<Vec<_>>(), token),
        }
    }
}

/// A version as a listing has it, without tags, or as the call for one version does.
fn entry(version: &Version, name: &str, number: u32, whole: bool) -> Value {
    let tags: Vec<Value> = version.tags.iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
    let mut entry = json!({
        "name": name, "version": number.to_string(), "creation_timestamp": 1_795_424_297_778_u64,
        "last_updated_timestamp": version.updated, "status": version.status,
        "source": if whole { "dbfs:/databricks/mlflow-tracking/1/r/artifacts/model" } else { "" },
    });
    if whole {
        entry["tags"] = tags.into();
    }
    entry
}

/// Pages of one entry, and an empty one before the last, as Databricks may send them.
fn one_a_page(field: &str, all: &[Value], token: &str) -> Answer {
    let (at, last) = (token.parse().unwrap_or(0), all.len().saturating_sub(1));
    let (entries, next) = match token {
        "last" => (&all[last..], String::new()),
        _ if at < last => (&all[at..=at], (at + 1).to_string()),
        _ if all.is_empty() => (all, String::new()),
        _ => (&all[..0], "last".to_owned()),
    };
    ok(&json!({ field: entries, "next_page_token": next }))
}

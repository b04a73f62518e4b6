//! Responses of an MLflow server, reduced to the fields that are used. Other fields are ignored and absent ones have
//! defaults. Numbers may be text, because protobuf's JSON writes 64-bit numbers as either.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// Response of `registered-models/get`.
#[derive(Debug, Deserialize)]
pub(super) struct RegisteredModelResponse {
    pub registered_model: RegisteredModel,
}

/// Response of `registered-models/search`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RegisteredModels {
    pub registered_models: Vec<RegisteredModel>,
    pub next_page_token: String,
}

/// A registered model.
#[derive(Debug, Deserialize)]
pub(super) struct RegisteredModel {
    pub name: String,
    #[serde(default, deserialize_with = "number")]
    pub last_updated_timestamp: u64,
    /// The newest version of each stage.
    #[serde(default)]
    pub latest_versions: Vec<ModelVersion>,
    #[serde(default)]
    pub aliases: Vec<Alias>,
}

/// An alias of a version.
#[derive(Debug, Deserialize)]
pub(super) struct Alias {
    pub alias: String,
    #[serde(deserialize_with = "number")]
    pub version: u64,
}

/// Response of `model-versions/get`.
#[derive(Debug, Deserialize)]
pub(super) struct ModelVersionResponse {
    pub model_version: ModelVersion,
}

/// Response of `model-versions/search`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ModelVersions {
    pub model_versions: Vec<ModelVersion>,
    pub next_page_token: String,
}

/// A version: logged by a run (2.x), a logged model (3.x), or uploaded.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ModelVersion {
    #[serde(deserialize_with = "number")]
    pub version: u64,
    #[serde(default, deserialize_with = "number")]
    pub creation_timestamp: u64,
    #[serde(default, deserialize_with = "number")]
    pub last_updated_timestamp: u64,
    #[serde(default)]
    pub current_stage: Option<String>,
    /// Absent in responses of old servers.
    #[serde(default)]
    pub status: Option<String>,
    #[serde(default)]
    pub source: Option<String>,
    #[serde(default)]
    pub run_id: Option<String>,
    #[serde(default)]
    pub model_id: Option<String>,
    #[serde(default)]
    pub tags: Vec<Tag>,
}

/// A tag of a version.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Tag {
    pub key: String,
    #[serde(default)]
    pub value: String,
}

/// Response of `model-versions/get-download-uri`.
#[derive(Debug, Deserialize)]
pub(super) struct DownloadUri {
    pub artifact_uri: String,
}

/// Response of `logged-models/ID`.
#[derive(Debug, Deserialize)]
pub(super) struct LoggedModelResponse {
    pub model: LoggedModel,
}

#[derive(Debug, Deserialize)]
pub(super) struct LoggedModel {
    pub info: LoggedModelInfo,
}

#[derive(Debug, Deserialize)]
pub(super) struct LoggedModelInfo {
    #[serde(default)]
    pub model_id: String,
    #[serde(default)]
    pub source_run_id: String,
    pub artifact_uri: String,
}

/// Response of `logged-models/search`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LoggedModels {
    pub models: Vec<LoggedModel>,
    pub next_page_token: String,
}

/// Response of `runs/get`.
#[derive(Debug, Deserialize)]
pub(super) struct RunResponse {
    pub run: Run,
}

#[derive(Debug, Deserialize)]
pub(super) struct Run {
    pub info: RunInfo,
}

#[derive(Debug, Deserialize)]
pub(super) struct RunInfo {
    pub artifact_uri: String,
    #[serde(default)]
    pub experiment_id: String,
}

/// The content of a folder; all listing calls have this shape.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FileList {
    /// `contents` in the Files API of Databricks.
    #[serde(alias = "contents")]
    pub files: Vec<FileInfo>,
    pub next_page_token: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct FileInfo {
    pub path: String,
    #[serde(default, alias = "is_directory")]
    pub is_dir: bool,
    /// Absent for folders, and for stores that do not report sizes.
    #[serde(default, deserialize_with = "number")]
    pub file_size: u64,
}

impl ModelVersion {
    /// Whether the version's files are complete.
    pub(super) fn is_ready(&self) -> bool {
        self.status.as_deref().is_none_or(|status| status == "READY")
    }

    /// The stage; MLflow writes `None` for a version without a stage.
    pub(super) fn stage(&self) -> Option<String> {
        self.current_stage.clone().filter(|stage| !stage.is_empty() && stage != "None")
    }
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(0),
        Value::Number(number) => {
            number.as_u64().ok_or_else(|| D::Error::custom(format!("{number} is not a whole number")))
        }
        Value::String(text) => text.parse().map_err(|_| D::Error::custom(format!("{text:?} is not a whole number"))),
        other => Err(D::Error::custom(format!("{other} is not a number"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_as_numbers_or_text_and_stages_as_none() {
        let text = r#"{"name": "n", "version": "2", "creation_timestamp": 1795424297778, "current_stage": "None",
            "last_updated_timestamp": "1795424318688", "status": "READY", "extra": {"deep": []}}"#;
        let version: ModelVersion = serde_json::from_str(text).unwrap();
        assert_eq!((version.version, version.last_updated_timestamp), (2, 1_795_424_318_688));
        assert!(version.is_ready() && version.stage().is_none() && version.tags.is_empty());
        assert!(serde_json::from_str::<ModelVersion>(r#"{"version": "two"}"#).is_err());
        assert!(serde_json::from_str::<ModelVersion>(r#"{"version": 1.5}"#).is_err());
    }
}

//! Models that runs have logged (3.x), which have artefacts of their own.

use serde::Deserialize;
use serde_json::json;

use super::artifacts::API;
use super::client::{Body, MlflowClient, Verb};
use super::responses::{LoggedModelInfo, LoggedModels};
use crate::RegistryError;
use crate::uri::is_logged_model;

/// The model that a run has logged under a name (3.x), which is not among the run's artefacts. An older server has no
/// such models.
pub(super) fn logged_by(
    client: &MlflowClient,
    experiment: &str,
    run: &str,
    name: &str,
) -> Result<Option<LoggedModelInfo>, RegistryError> {
    if experiment.is_empty() || name.is_empty() || name.contains(['/', '\'', '"']) {
        return Ok(None);
    }
    let mut token = String::new();
    // a page has hundreds of models
    for _ in 0..16 {
        let mut body = json!({ "experiment_ids": [experiment], "filter": format!("name = '{name}'") });
        if !token.is_empty() {
            body["page_token"] = token.into();
        }
        let path = format!("{API}/logged-models/search");
        let page = match client.send(Verb::Post, &path, Body::Json(&body)) {
            Ok(page) => LoggedModels::deserialize(page)
                .map_err(|error| RegistryError::Answer { url: path, reason: error.to_string() })?,
            Err(error) if error.is_missing() || matches!(error, RegistryError::Refused { status: 405, .. }) => break,
            Err(error) => return Err(error),
        };
        if let Some(found) = page.models.into_iter().find(|model| model.info.source_run_id == run) {
            let ours = is_logged_model(&found.info.model_id);
            return Ok(Some(found.info).filter(|_| ours));
        }
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    Ok(None)
}

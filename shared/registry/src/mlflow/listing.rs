//! The listing of an MLflow server: the versions of a model, the source of their files, and the view built from both.

use std::collections::BTreeMap;

use forebay_artefact::MlModel;
use serde::{Deserialize, Serialize};

use super::address::with_query;
use super::artifacts::ArtifactLocation;
use super::client::MlflowClient;
use super::files::fetch_mlmodel;
use super::responses::{ModelVersion, ModelVersionResponse, ModelVersions, RegisteredModelResponse, RegisteredModels};
use super::unity_catalog;
use crate::{ModelView, RegistryError, VersionView};

const API: &str = "/api/2.0/mlflow";
/// Tag of a version that names its separate preprocessing artefact.
const PREPROCESSING_TAG: &str = "forebay.preprocessing";
/// Tag of a version that names what its answers hold.
pub(crate) const OUTPUT_TAG: &str = "forebay.output";
/// Largest number of versions of one model that are looked up separately because they have an alias or a stage and are
/// not among the newest.
const MAX_NAMED: usize = 100;
/// Largest number of models when all are served.
const MAX_MODELS: usize = 1000;
/// Number of entries on one page.
const PAGE: usize = 100;

/// One model as the server listed it. The listing is also cached on disk, so fields may only be added, with defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct ListedModel {
    pub name: String,
    pub generation: u64,
    pub versions: BTreeMap<u32, VersionSource>,
    pub aliases: BTreeMap<String, u32>,
}

/// The source of the files of a version. All fields but stage, flavor, output and updated are part of the
/// version's identity.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct VersionSource {
    pub stage: Option<String>,
    /// Flavor in `MLmodel`; `None` when that cannot be read.
    pub flavor: Option<String>,
    pub created: u64,
    pub source: String,
    pub run_id: String,
    pub model_id: String,
    /// URI of the separate preprocessing artefact.
    pub preprocessing: Option<String>,
    /// What an answer holds when the request does not say. Not part of the identity: another tag needs no other files.
    #[serde(default)]
    pub output: Option<String>,
    /// When the version last changed, where its tags have to be asked for one by one; else 0. Not part of the identity.
    #[serde(default)]
    pub updated: u64,
}

impl VersionSource {
    fn of(version: ModelVersion) -> Self {
        let stage = version.stage();
        let tag = |key: &str| {
            let tag = version.tags.iter().find(|tag| tag.key == key);
            tag.map(|tag| tag.value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let (preprocessing, output) = (tag(PREPROCESSING_TAG), tag(OUTPUT_TAG));
        Self {
            stage,
            flavor: None,
            created: version.creation_timestamp,
            source: version.source.unwrap_or_default(),
            run_id: version.run_id.unwrap_or_default(),
            model_id: version.model_id.unwrap_or_default(),
            preprocessing,
            output,
            updated: 0,
        }
    }

    /// As [`VersionSource::of`] for a version in Unity Catalog, which its name and number identify: what a listing and the
    /// version itself say of its source need not be the same.
    fn of_catalog(version: ModelVersion) -> Self {
        let updated = version.last_updated_timestamp;
        let (source, run_id, model_id) = Default::default();
        Self { stage: None, updated, source, run_id, model_id, ..Self::of(version) }
    }

    pub(super) fn listed(client: &MlflowClient, version: ModelVersion) -> Self {
        if client.is_catalog() { Self::of_catalog(version) } else { Self::of(version) }
    }

    /// The digest of a version. MLflow never changes the files of a version, so the digest is computed from what names
    /// them: it is known before they are fetched, is the same in every process, and does not change with stages and
    /// aliases.
    pub(crate) fn identity(&self, name: &str, version: u32) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("forebay 2026 mlflow model version");
        let preprocessing = self.preprocessing.as_deref().unwrap_or("");
        for text in [name, &self.source, &self.run_id, &self.model_id, preprocessing] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        hasher.update(&version.to_le_bytes());
        hasher.update(&self.created.to_le_bytes());
        *hasher.finalize().as_bytes()
    }
}

impl ListedModel {
    /// Fetches the listing of the model `name`; `None` when there is none. Flavors that are known from `before` are not
    /// fetched again: each costs a call.
    pub(super) fn fetch(
        client: &MlflowClient,
        name: &str,
        keep: usize,
        before: Option<&Self>,
    ) -> Result<Option<Self>, RegistryError> {
        if client.is_catalog() {
            unity_catalog::check_name(name)?;
        }
        let response = client.get::<RegisteredModelResponse>(&with_query(
            &format!("{}/registered-models/get", api(client)),
            &[("name", name)],
        ));
        let model = match response {
            Ok(answer) => answer.registered_model,
            Err(error) if error.is_missing() => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut newest = model.last_updated_timestamp;
        let mut found = match client.is_catalog() {
            true => unity_catalog::newest_versions(client, name, keep)?,
            false => newest_versions(client, name, keep)?,
        };
        found.extend(model.latest_versions);
        let number = |version: u64| u32::try_from(version).ok();
        let aliases: BTreeMap<String, u32> = model
            .aliases
            .into_iter()
            .take(MAX_NAMED)
            .filter_map(|alias| Some((alias.alias, number(alias.version)?)))
            .collect();
        for version in aliases.values() {
            if !found.iter().any(|known| number(known.version) == Some(*version)) {
                match one(client, name, *version) {
                    Ok(version) => found.push(version),
                    Err(error) if error.is_missing() => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let mut versions = BTreeMap::new();
        for version in found {
            newest = newest.max(version.last_updated_timestamp);
            let Some(number) = number(version.version) else { continue };
            if version.is_ready() {
                versions.entry(number).or_insert_with(|| VersionSource::listed(client, version));
            } else if before.is_some_and(|before| before.versions.contains_key(&number)) || before.is_none() {
                tracing::info!(
                    model = name,
                    version = number,
                    status = version.status,
                    "version is not ready, skipped"
                );
            }
        }
        let mut listed = Self { name: name.to_owned(), generation: newest.max(1), versions, aliases };
        if client.is_catalog() {
            unity_catalog::learn_tags(client, &mut listed, before)?;
        }
        listed.learn_flavors(client, before)?;
        listed.follow(before);
        Ok(Some(listed))
    }

    /// Reads `MLmodel` of every version that is new.
    fn learn_flavors(&mut self, client: &MlflowClient, before: Option<&Self>) -> Result<(), RegistryError> {
        let name = &self.name;
        for (number, origin) in &mut self.versions {
            let known = before.and_then(|before| before.versions.get(number));
            let known = known.filter(|known| known.identity(name, *number) == origin.identity(name, *number));
            if let Some(flavor) = known.and_then(|known| known.flavor.clone()) {
                origin.flavor = Some(flavor);
                continue;
            }
            let read =
                ArtifactLocation::of_version(client, name, *number).and_then(|place| fetch_mlmodel(client, &place));
            match read {
                Ok(bytes) => origin.flavor = MlModel::parse(&bytes).ok().map(|mlmodel| mlmodel.flavor),
                Err(error @ RegistryError::Unreachable { status: None, .. }) => return Err(error),
                Err(error) if known.is_none() => {
                    tracing::warn!(model = name, version = number, %error, "version cannot be described");
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Increases the generation with every change, independently of the server's timestamps.
    fn follow(&mut self, before: Option<&Self>) {
        let Some(before) = before else { return };
        self.generation = self.generation.max(before.generation);
        if self != before && self.generation == before.generation {
            self.generation += 1;
        }
    }

    /// Builds the view that callers get.
    pub(crate) fn view(&self) -> ModelView {
        let version = |(number, origin): (&u32, &VersionSource)| VersionView {
            version: *number,
            stage: origin.stage.clone(),
            flavor: origin.flavor.clone().unwrap_or_else(|| "unknown".to_owned()),
            digest: origin.identity(&self.name, *number),
            output: origin.output.clone(),
        };
        ModelView {
            name: self.name.clone(),
            generation: self.generation,
            versions: self.versions.iter().map(version).collect(),
            aliases: self.aliases.clone(),
        }
    }
}

/// What the paths of the registry's calls begin with.
fn api(client: &MlflowClient) -> &'static str {
    if client.is_catalog() { unity_catalog::API } else { API }
}

/// Lists every registered model by name.
pub(super) fn names(client: &MlflowClient) -> Result<Vec<String>, RegistryError> {
    if client.is_catalog() {
        return unity_catalog::names(client);
    }
    let (mut names, mut token) = (Vec::new(), String::new());
    let path = format!("{API}/registered-models/search");
    let page_size = PAGE.to_string();
    while names.len() < MAX_MODELS {
        let mut query = vec![("max_results", page_size.as_str())];
        if !token.is_empty() {
            query.push(("page_token", token.as_str()));
        }
        let page = client.get::<RegisteredModels>(&with_query(&path, &query))?;
        let empty = page.registered_models.is_empty();
        names.extend(page.registered_models.into_iter().map(|model| model.name));
        token = page.next_page_token;
        if token.is_empty() || empty {
            return Ok(names);
        }
    }
    tracing::warn!(limit = MAX_MODELS, "the registry has more models than can be served");
    names.truncate(MAX_MODELS);
    Ok(names)
}

fn newest_versions(client: &MlflowClient, name: &str, keep: usize) -> Result<Vec<ModelVersion>, RegistryError> {
    let quote = if name.contains('\'') { '"' } else { '\'' };
    let filter = format!("name={quote}{name}{quote}");
    let (mut found, mut token) = (Vec::new(), String::new());
    while found.len() < keep {
        let page_size = PAGE.min(keep - found.len()).to_string();
        let order = "version_number DESC";
        let mut query = vec![("filter", filter.as_str()), ("max_results", &page_size), ("order_by", order)];
        if !token.is_empty() {
            query.push(("page_token", token.as_str()));
        }
        let page = client.get::<ModelVersions>(&with_query(&format!("{API}/model-versions/search"), &query))?;
        let empty = page.model_versions.is_empty();
        found.extend(page.model_versions);
        token = page.next_page_token;
        if token.is_empty() || empty {
            break;
        }
    }
    found.truncate(keep);
    Ok(found)
}

pub(super) fn one(client: &MlflowClient, name: &str, version: u32) -> Result<ModelVersion, RegistryError> {
    let number = version.to_string();
    let query = [("name", name), ("version", number.as_str())];
    let path = format!("{}/model-versions/get", api(client));
    let answer = client.get::<ModelVersionResponse>(&with_query(&path, &query))?;
    Ok(answer.model_version)
}

/// Looks up the source of one version, listed or not.
pub(super) fn origin(client: &MlflowClient, name: &str, version: u32) -> Result<VersionSource, RegistryError> {
    if client.is_catalog() {
        unity_catalog::check_name(name)?;
    }
    match one(client, name, version) {
        Ok(found) => Ok(VersionSource::listed(client, found)),
        Err(error) if error.is_missing() => Err(RegistryError::UnknownVersion { model: name.to_owned(), version }),
        Err(error) => Err(error),
    }
}

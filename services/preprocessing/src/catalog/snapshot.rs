//! Every model of the registry at one moment, compiled for the hot path.

use std::collections::{BTreeMap, HashMap};

use forebay_contract::{ErrorCode, Problem, SplitKey};
use forebay_registry::ModelView;

use super::model_versions::{ModelVersions, ResolvedVersion};
use crate::row::{RowRules, quoted};
use crate::served_version::DescribedVersion;
use crate::traffic_split::TrafficSplit;

/// What settings say, whatever the registry holds.
#[derive(Debug, Clone)]
pub struct CatalogPolicy {
    /// Model of requests that name none.
    pub model: String,
    /// The stage, or alias, whose version answers requests that name no version.
    pub stage: String,
    /// Rules for the rows of every version.
    pub rules: RowRules,
    /// Weighted splits by model.
    pub splits: BTreeMap<String, TrafficSplit>,
}

impl CatalogPolicy {
    /// Whether requests come to a version without naming it by its number: it has a stage or an alias, or a share.
    pub(crate) fn answers(&self, view: &ModelView, version: u32) -> bool {
        let is = |named: &str| view.resolve(Some(named)).is_ok_and(|found| found.exact && found.version == version);
        let has_share = |split: &TrafficSplit| split.shares().any(|(named, _)| is(named));
        view.is_named(version) || is(&self.stage) || self.splits.get(&view.name).is_some_and(has_share)
    }
}

/// A model as it goes into a snapshot.
#[derive(Debug)]
pub struct ListedModel {
    /// What the registry lists.
    pub view: ModelView,
    /// The versions that can be used.
    pub versions: Vec<DescribedVersion>,
    /// The Production version in effect: the one of the registry, or the one before while the new one waits for the
    /// prediction replicas.
    pub production: u32,
}

/// All models at one moment; replaced as a whole.
#[derive(Debug)]
pub struct CatalogSnapshot {
    default_model: String,
    models: HashMap<String, ModelVersions>,
    missing: Vec<String>,
}

impl CatalogSnapshot {
    /// Compiles `models`. A model without a version is left out.
    pub fn new(policy: &CatalogPolicy, models: impl IntoIterator<Item = ListedModel>) -> Self {
        let mut missing = Vec::new();
        let mut compiled = HashMap::new();
        for listed in models {
            let name = listed.view.name.clone();
            let Some(mut versions) = ModelVersions::new(policy, listed) else { continue };
            if let Some(split) = policy.splits.get(&name) {
                versions.split(split, |version| missing.push(format!("{name}: {version}")));
            }
            compiled.insert(name, versions);
        }
        missing.extend(policy.splits.keys().filter(|name| !compiled.contains_key(*name)).cloned());
        Self { default_model: policy.model.clone(), models: compiled, missing }
    }

    /// Whether the model of requests that name none can be answered.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), String> {
        self.resolve("", "").map(|_| ()).map_err(|problem| problem.message)
    }

    /// Whether a version can be used.
    pub(crate) fn has(&self, model: &str, version: u32) -> bool {
        self.models.get(model).is_some_and(|versions| versions.has(version))
    }

    /// Models and versions that a split names and the registry does not have; Production answers for them.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Pins a version. An empty `model` is the default one, an empty `requested` its Production version; a version that
    /// does not exist or cannot be used is replaced by Production, and that by the newest one that can be used.
    ///
    /// # Errors
    /// `unknown_model`; `model_unavailable` when no version can be used.
    pub fn resolve(&self, model: &str, requested: &str) -> Result<ResolvedVersion, Problem> {
        let model = self.named(model);
        let versions = self.models.get(model).ok_or_else(|| self.unknown(model))?;
        versions.resolve(requested.trim()).ok_or_else(|| {
            Problem::new(ErrorCode::ModelUnavailable, format!("no version of model {} can be used", quoted(model)))
        })
    }

    /// The version that a model's split gives to a request without a version; `None` for a model without a split. `key`
    /// is only called when there is one.
    pub fn split(&self, model: &str, key: impl FnOnce() -> SplitKey) -> Option<&ResolvedVersion> {
        let model = self.named(model);
        self.models.get(model)?.share(model, key)
    }

    /// The name of a model; an empty one is that of the default model.
    pub(crate) fn named<'a>(&'a self, model: &'a str) -> &'a str {
        if model.is_empty() { &self.default_model } else { model }
    }

    fn unknown(&self, model: &str) -> Problem {
        // the names of others are not every caller's to know; ingestion lists those that a caller may use
        let text = format!("unknown model {}; GET /v1/models lists what is served", quoted(model));
        Problem::new(ErrorCode::UnknownModel, text)
    }
}

#[cfg(test)]
mod tests;

//! The models that can be used, according to the model directory. No registry is read, so this service needs no access to
//! one.

mod changes;
mod served;

use std::sync::Arc;

use forebay_bus::ModelDirectory;
use forebay_contract::{BreakerState, LoadState, ModelView, ReplicaState, RowFormat, VersionState, ViewVersion};
use forebay_registry::ModelSettings;
use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use serde::Serialize;
use utoipa::ToSchema;

pub(crate) use served::ServedModel;

/// Builds the list of models. Clones share the model directory.
#[derive(Clone, Debug)]
pub struct ModelListing {
    directory: ModelDirectory,
    models: ModelSettings,
    /// Whether requests can load and unload models.
    writable: bool,
    /// By model: the version that a view names for requests that name none.
    wanted: Arc<RwLock<FxHashMap<String, WantedVersion>>>,
}

type WantedVersion = (Arc<ModelView>, Option<u32>);

/// Every model of the registry.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelList {
    /// Sorted by name.
    pub models: Vec<ModelEntry>,
}

/// One registered model.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelEntry {
    #[schema(example = "diabetes-rf-model")]
    pub name: String,
    /// Whether this model answers requests that name none.
    pub default: bool,
    /// The version that currently answers requests that name none.
    #[schema(example = "v3")]
    pub default_version: Option<String>,
    /// The version that the registry names instead, while replicas are still loading it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "v4")]
    pub moving_to: Option<String>,
    /// Whether a request to the repository unloaded it, so that no version answers.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unloaded: bool,
    /// In ascending order.
    pub versions: Vec<VersionEntry>,
}

impl ModelEntry {
    /// Leaves out why versions could not be loaded: a reason may quote the registry and its address.
    pub(super) fn hide_reasons(&mut self) {
        let replicas = self.versions.iter_mut().flat_map(|version| &mut version.replicas);
        replicas.for_each(|replica| replica.why = None);
    }
}

/// One version of a model.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VersionEntry {
    /// As in the field `model_version`.
    #[schema(example = "v3")]
    pub version: String,
    #[schema(example = "Production")]
    pub stage: Option<String>,
    /// Aliases of this version in the registry.
    pub aliases: Vec<String>,
    /// Kind of artefact.
    #[schema(example = "sklearn")]
    pub flavor: String,
    /// Names of the values of a row, in order; empty until a replica has loaded the version.
    pub features: Vec<String>,
    /// Whether `null` is accepted as a value; known once a replica has loaded the version.
    pub accepts_missing: Option<bool>,
    /// The live replicas that report this version.
    pub replicas: Vec<ReplicaEntry>,
}

/// A version on one replica.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReplicaEntry {
    /// Name of the replica, different after every start.
    #[schema(example = "forebay-prediction-6b9f-x7x2d-1f0c4a9e")]
    pub replica: String,
    /// Whether the replica can answer with the version.
    pub state: ReadyState,
    /// State of the circuit breaker for the version: open after consecutive failures, half open while it is probed.
    pub breaker: BreakerReport,
    /// Why the version could not be loaded; with credentials, only for those of an admin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReadyState {
    Loading,
    Ready,
    Failed,
    /// Reported by a newer build; this one does not know the state.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum BreakerReport {
    Closed,
    Open,
    HalfOpen,
}

impl ModelListing {
    /// A list from `directory`; `models` names the default model and the stage or alias that answers.
    pub fn new(directory: ModelDirectory, models: ModelSettings) -> Self {
        Self { directory, models, writable: false, wanted: Arc::default() }
    }

    /// The same list, whose models requests can load and unload if `writable`.
    #[must_use]
    pub fn writable(self, writable: bool) -> Self {
        Self { writable, ..self }
    }

    /// The list, or `None` until a prediction replica has reported what the registry holds.
    pub(super) fn list(&self) -> Option<ModelList> {
        let views = self.directory.views();
        let models: Vec<_> = views.iter().map(|view| self.entry(view)).collect();
        (!models.is_empty()).then_some(ModelList { models })
    }

    fn entry(&self, view: &ModelView) -> ModelEntry {
        let replicas = self.directory.replicas(&view.model);
        let unloaded = self.directory.is_unloaded(&view.model);
        let wanted = self.wanted(view).filter(|_| !unloaded);
        let now = wanted.map(|wanted| answering(&replicas, wanted));
        let name = |version: u32| format!("v{version}");
        ModelEntry {
            name: view.model.clone(),
            default: view.model == self.models.name,
            default_version: now.map(name),
            moving_to: wanted.filter(|wanted| Some(*wanted) != now).map(name),
            unloaded,
            versions: view.versions.iter().map(|version| describe(view, version, &replicas)).collect(),
        }
    }

    /// As [`ModelListing::wanted`], found once for each view.
    fn wanted_of(&self, view: &Arc<ModelView>) -> Option<u32> {
        let known =
            self.wanted.read().get(&view.model).and_then(|(of, wanted)| Arc::ptr_eq(of, view).then_some(*wanted));
        known.unwrap_or_else(|| {
            let wanted = self.wanted(view);
            let mut known = self.wanted.write();
            known.retain(|model, _| self.directory.view(model).is_some());
            known.insert(view.model.clone(), (Arc::clone(view), wanted));
            wanted
        })
    }

    /// The version that the registry names for requests that name none.
    fn wanted(&self, view: &ModelView) -> Option<u32> {
        let versions = view.versions.iter().map(|listed| forebay_registry::VersionView {
            version: listed.version,
            stage: (!listed.stage.is_empty()).then(|| listed.stage.clone()),
            flavor: listed.flavor.clone(),
            digest: listed.digest.as_ref().try_into().unwrap_or_default(),
            output: None,
        });
        let view = forebay_registry::ModelView {
            name: view.model.clone(),
            generation: view.generation,
            versions: versions.collect(),
            aliases: view.aliases.clone(),
        };
        view.resolve(Some(&self.models.stage)).ok().map(|resolution| resolution.version)
    }
}

/// The version that answers while replicas move to `wanted`: `wanted` once all replicas have loaded it, else the version
/// that most live replicas answer with.
fn answering(replicas: &[Arc<ReplicaState>], wanted: u32) -> u32 {
    let has = |state: &VersionState| state.version == wanted && state.state() == LoadState::Ready;
    if replicas.iter().all(|replica| replica.versions.iter().any(has)) {
        return wanted;
    }
    let mut reported: Vec<u32> =
        replicas.iter().map(|replica| replica.production).filter(|version| *version > 0).collect();
    reported.sort_unstable();
    let largest = reported.chunk_by(|one, other| one == other).max_by_key(|same| same.len());
    largest.and_then(|same| same.first()).copied().unwrap_or(wanted)
}

fn describe(view: &ModelView, version: &ViewVersion, replicas: &[Arc<ReplicaState>]) -> VersionEntry {
    let number = version.version;
    let aliases = view.aliases.iter().filter(|(_, target)| **target == number).map(|(alias, _)| alias.clone());
    let has_version = |format: &&RowFormat| format.versions.contains(&number);
    let format = replicas.iter().find_map(|replica| replica.rows.iter().find(has_version));
    let reported = replicas.iter().filter_map(|replica| {
        let state = replica.versions.iter().find(|state| state.version == number)?;
        Some(on_replica(&replica.replica, state))
    });
    VersionEntry {
        version: format!("v{number}"),
        stage: (!version.stage.is_empty()).then(|| version.stage.clone()),
        aliases: aliases.collect(),
        flavor: version.flavor.clone(),
        features: format.map(|format| format.features.clone()).unwrap_or_default(),
        accepts_missing: format.map(|format| format.accepts_missing),
        replicas: reported.collect(),
    }
}

fn on_replica(replica: &str, state: &VersionState) -> ReplicaEntry {
    ReplicaEntry {
        replica: replica.to_owned(),
        state: match state.state() {
            LoadState::Loading => ReadyState::Loading,
            LoadState::Ready => ReadyState::Ready,
            LoadState::Failed => ReadyState::Failed,
            LoadState::Unknown => ReadyState::Unknown,
        },
        breaker: match state.breaker() {
            BreakerState::Closed => BreakerReport::Closed,
            BreakerState::Open => BreakerReport::Open,
            BreakerState::HalfOpen => BreakerReport::HalfOpen,
        },
        why: (!state.why.is_empty()).then(|| state.why.clone()),
    }
}

#[cfg(test)]
mod tests {
    use forebay_testkit::settings;

    use super::*;

    fn listing(directory: &ModelDirectory) -> ModelListing {
        let models = settings(&[]).flags(&["models.name=m"]).read(ModelSettings::read).unwrap();
        ModelListing::new(directory.clone(), models)
    }

    fn view(production: u32) -> ModelView {
        let version = |version| ViewVersion {
            version,
            stage: if version == production { "Production".into() } else { String::new() },
            flavor: "sklearn".into(),
            ..ViewVersion::default()
        };
        let aliases = [("champion".to_owned(), production)].into();
        ModelView { model: "m".into(), versions: vec![version(1), version(2)], aliases, ..ModelView::default() }
    }

    fn replica(name: &str, production: u32, states: &[(u32, LoadState)]) -> ReplicaState {
        let state = |(version, state): &(u32, LoadState)| VersionState {
            version: *version,
            state: (*state).into(),
            ..VersionState::default()
        };
        ReplicaState {
            replica: name.into(),
            model: "m".into(),
            production,
            versions: states.iter().map(state).collect(),
            ..ReplicaState::default()
        }
    }

    fn answers(directory: &ModelDirectory) -> (Option<String>, Option<String>) {
        let entry = listing(directory).list().unwrap().models.remove(0);
        (entry.default_version, entry.moving_to)
    }

    #[test]
    fn nothing_is_listed_before_a_replica_has_reported() {
        assert!(listing(&ModelDirectory::new("here")).list().is_none());
    }

    #[test]
    fn a_view_alone_is_enough() {
        let directory = ModelDirectory::new("here");
        directory.on_view(view(2));
        let entry = listing(&directory).list().unwrap().models.remove(0);
        assert!(entry.default);
        assert_eq!((entry.default_version.as_deref(), entry.moving_to), (Some("v2"), None));
        assert_eq!((entry.versions[1].stage.as_deref(), entry.versions[1].aliases.len()), (Some("Production"), 1));
        assert!(entry.versions[0].features.is_empty() && entry.versions[0].accepts_missing.is_none());
    }

    #[test]
    fn the_old_version_answers_until_every_replica_has_the_new_one() {
        use LoadState::{Failed, Loading, Ready};
        let directory = ModelDirectory::new("here");
        directory.on_view(view(2));
        directory.on_state(replica("a", 1, &[(1, Ready), (2, Loading)]));
        directory.on_state(replica("b", 2, &[(1, Ready), (2, Ready)]));
        directory.on_state(replica("c", 1, &[(1, Ready), (2, Failed)]));
        assert_eq!(answers(&directory), (Some("v1".into()), Some("v2".into())));
        directory.on_state(replica("a", 2, &[(1, Ready), (2, Ready)]));
        assert_eq!(answers(&directory), (Some("v2".into()), None), "most replicas have moved");
        directory.on_state(replica("c", 2, &[(1, Ready), (2, Ready)]));
        assert_eq!(answers(&directory), (Some("v2".into()), None));
    }

    #[test]
    fn the_reports_of_replicas_are_listed_as_json() {
        let directory = ModelDirectory::new("here");
        directory.publish_view(view(2));
        let features = vec!["age".into(), "bmi".into()];
        directory.describe("m", 2, RowFormat { features, accepts_missing: true, ..RowFormat::default() });
        let (failed, open) = (LoadState::Failed.into(), BreakerState::HalfOpen.into());
        let one =
            VersionState { version: 1, state: failed, why: "model.pkl: cut off".into(), ..VersionState::default() };
        let two = VersionState { version: 2, state: LoadState::Ready.into(), breaker: open, ..VersionState::default() };
        directory.report("m", Some(2), vec![one, two]);
        let listed = serde_json::to_value(listing(&directory).list().unwrap()).unwrap();
        let versions = &listed["models"][0]["versions"];
        let why = serde_json::json!([
            { "replica": "here", "state": "failed", "breaker": "closed", "why": "model.pkl: cut off" }
        ]);
        assert_eq!(versions[0]["replicas"], why);
        assert_eq!(versions[1]["replicas"][0]["breaker"], "half_open");
        assert_eq!(versions[1]["features"], serde_json::json!(["age", "bmi"]));
        assert_eq!(versions[1]["accepts_missing"], true);
        assert_eq!(versions[0]["accepts_missing"], serde_json::Value::Null);
    }
}

//! `GET /v1/models`: what the registry holds and which version answers.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::{HttpResponse, web};
use forebay_contract::{ErrorCode, Problem};
use forebay_model::{ModelView, Registry, RegistryError, VersionView};
use forebay_runtime::ModelSettings;
use parking_lot::Mutex;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::ErrorBody;
use crate::registry::registry_options;

/// How old a listing may be.
const FRESH: Duration = Duration::from_secs(2);

/// The registry as clients see it. Opened at the first request, so that a registry that is down stops nobody.
#[derive(Clone)]
pub struct Catalog(Arc<Shared>);

struct Shared {
    models: ModelSettings,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    registry: Option<Registry>,
    listing: Option<(Instant, Arc<ModelList>)>,
}

/// Every model of the registry.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelList {
    /// By name.
    pub models: Vec<ModelEntry>,
}

/// One registered model.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelEntry {
    #[schema(example = "diabetes-rf-model")]
    pub name: String,
    /// Whether requests that name no model are answered by this one.
    pub default: bool,
    /// The version that answers requests that name none.
    #[schema(example = "v3")]
    pub default_version: Option<String>,
    /// Ascending.
    pub versions: Vec<VersionEntry>,
}

/// One version of a model.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VersionEntry {
    /// As `model_version` names it.
    #[schema(example = "v3")]
    pub version: String,
    #[schema(example = "Production")]
    pub stage: Option<String>,
    /// Other names of this version.
    pub aliases: Vec<String>,
    /// Kind of artefact.
    #[schema(example = "sklearn")]
    pub flavor: String,
    /// The values of a row in order, by name.
    pub features: Vec<String>,
    /// Whether `null` is taken for a value.
    pub accepts_missing: Option<bool>,
    /// Why the version cannot be described.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// An error outside of a prediction.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PlainError {
    pub error: ErrorBody,
}

impl PlainError {
    pub(super) fn new(problem: Problem) -> Self {
        Self { error: ErrorBody { code: problem.code.to_string(), message: problem.message } }
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").field("registry", &self.0.models.shown()).finish_non_exhaustive()
    }
}

impl Catalog {
    /// Of the registry that settings name.
    pub fn new(models: ModelSettings) -> Self {
        Self(Arc::new(Shared { models, state: Mutex::default() }))
    }

    /// Blocks for as long as the registry takes to read.
    fn list(&self) -> Result<Arc<ModelList>, Problem> {
        let unavailable =
            |error: &dyn fmt::Display| Problem::new(ErrorCode::Unavailable, format!("model registry: {error}"));
        let mut state = self.0.state.lock();
        if let Some((_, listing)) = state.listing.as_ref().filter(|(read, _)| read.elapsed() < FRESH) {
            return Ok(Arc::clone(listing));
        }
        if let Some(registry) = &state.registry {
            registry.refresh().map_err(|error| unavailable(&error))?;
        } else {
            state.registry = Some(self.open().map_err(|error| unavailable(&error))?);
        }
        let models = state.registry.iter().flat_map(|registry| {
            registry.models().into_iter().map(|view| self.entry(registry, &view)).collect::<Vec<_>>()
        });
        let listing = Arc::new(ModelList { models: models.collect() });
        state.listing = Some((Instant::now(), Arc::clone(&listing)));
        Ok(listing)
    }

    fn open(&self) -> Result<Registry, RegistryError> {
        Registry::open_with(&registry_options(&self.0.models))
    }

    fn entry(&self, registry: &Registry, view: &ModelView) -> ModelEntry {
        let default = view.name == self.0.models.name;
        let answering = view.resolve(default.then_some(self.0.models.stage.as_str()));
        ModelEntry {
            name: view.name.clone(),
            default,
            default_version: answering.ok().map(|resolution| format!("v{}", resolution.version)),
            versions: view.versions.iter().map(|version| describe(registry, view, version)).collect(),
        }
    }
}

fn describe(registry: &Registry, view: &ModelView, version: &VersionView) -> VersionEntry {
    let named = view.aliases.iter().filter(|(_, target)| **target == version.version);
    let mut entry = VersionEntry {
        version: format!("v{}", version.version),
        stage: version.stage.clone(),
        aliases: named.map(|(alias, _)| alias.clone()).collect(),
        flavor: version.flavor.clone(),
        features: Vec::new(),
        accepts_missing: None,
        problem: None,
    };
    match registry.describe(&view.name, version.version) {
        Ok(meta) => {
            entry.features = meta.signature.features;
            entry.accepts_missing = Some(meta.accepts_missing);
        }
        Err(error) => entry.problem = Some(error.to_string()),
    }
    entry
}

/// The handler.
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "models",
    responses(
        (status = 200, description = "Models, their versions and what they take", body = ModelList),
        (status = 503, description = "unavailable: the registry cannot be read", body = PlainError),
    ),
)]
pub(super) async fn models(catalog: web::Data<Catalog>) -> HttpResponse {
    let catalog = catalog.get_ref().clone();
    let listed = web::block(move || catalog.list()).await;
    match listed {
        Ok(Ok(listing)) => HttpResponse::Ok().json(listing.as_ref()),
        Ok(Err(problem)) => {
            HttpResponse::ServiceUnavailable().insert_header(("Retry-After", "1")).json(PlainError::new(problem))
        }
        Err(_) => {
            let problem = Problem::new(ErrorCode::Internal, "the registry could not be read");
            HttpResponse::InternalServerError().json(PlainError::new(problem))
        }
    }
}

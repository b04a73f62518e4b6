//! Models of an MLflow server: listed and fetched over its REST API, cached on disk, and read from the cache while the
//! server is down.
//!
//! The calls are the same as those of MLflow's client (<https://mlflow.org/docs/latest/api_reference/rest-api.html>);
//! the server of the tests responds as version 3.17 does.

mod address;
mod artifacts;
mod client;
mod failure;
mod files;
mod listing;
mod logged;
mod redirect;
mod reported;
mod responses;
mod tls;
mod unity_catalog;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;

use super::cache::{Cache, CachedVersionKey};
use super::location::UNITY_CATALOG;
use super::{ModelView, RegistryError, RegistryOptions};
pub use client::{Body, MlflowClient, Verb};
pub(super) use files::ArtifactFiles;
pub(super) use listing::{ListedModel, OUTPUT_TAG};

/// Time between two evictions from the cache.
const EVICTION_INTERVAL: Duration = Duration::from_secs(3600);

type Listing = BTreeMap<String, Arc<ListedModel>>;

/// One MLflow server.
#[derive(Debug)]
pub(super) struct MlflowRegistry {
    client: MlflowClient,
    served: Option<Vec<String>>,
    /// Models beside those.
    also: Mutex<BTreeSet<String>>,
    keep: usize,
    cache: Option<Cache>,
    listing: ArcSwap<Listing>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Why the listing is out of date; `None` while it is current.
    stale: Option<String>,
    evicted: Option<Instant>,
    /// Whether a failed write to the cache has been logged.
    cache_warned: bool,
    /// Errors of single models that have been logged, so that each is logged once.
    model_errors: BTreeMap<String, String>,
}

impl MlflowRegistry {
    /// Lists the server, or uses the cached listing when it does not respond.
    pub(super) fn open(options: &RegistryOptions) -> Result<Self, RegistryError> {
        let client = MlflowClient::new(options)?;
        let place =
            if client.is_catalog() { format!("{UNITY_CATALOG}:{}", client.base()) } else { client.base().to_owned() };
        let cache = options.cache_dir.as_deref().map(|dir| Cache::new(dir, &place, options.cache_size));
        let served = options.models.clone().map(|mut names| {
            names.sort();
            names.dedup();
            names
        });
        let keep = options.versions.max(1);
        let (listing, state) = (ArcSwap::default(), Mutex::default());
        let server = Self { client, served, also: Mutex::default(), keep, cache, listing, state };
        let kept = server.cached();
        match server.list(&kept) {
            Ok(listing) => server.accept(&kept, listing),
            Err(error) if !error.is_denied() && !kept.is_empty() => server.use_last(kept, &error),
            Err(error) => return Err(error),
        }
        Ok(server)
    }

    /// The server's address, without a password.
    pub(super) fn address(&self) -> &str {
        self.client.base()
    }

    pub(super) fn models(&self) -> Vec<ModelView> {
        self.listing.load().values().map(|model| model.view()).collect()
    }

    pub(super) fn model(&self, name: &str) -> Option<ModelView> {
        self.listing.load().get(name).map(|model| model.view())
    }

    /// Looks up a model that need not be among those served.
    pub(super) fn look_up(&self, name: &str) -> Result<ModelView, RegistryError> {
        if let Some(view) = self.model(name) {
            return Ok(view);
        }
        let kept = self.cache.as_ref().and_then(|cache| cache.listing(name));
        match ListedModel::fetch(&self.client, name, self.keep, kept.as_ref()) {
            Ok(Some(listed)) => {
                self.store_listing(&listed);
                Ok(listed.view())
            }
            Ok(None) => Err(RegistryError::UnknownModel { model: name.to_owned() }),
            Err(error) => match kept {
                Some(kept) if !error.is_denied() => Ok(kept.view()),
                _ => Err(error),
            },
        }
    }

    /// Reads the listing again. While the server does not respond, the last listing is kept and
    /// [`MlflowRegistry::stale`] returns the reason.
    pub(super) fn refresh(&self) {
        let before = self.listing.load_full();
        match self.list(&before) {
            Ok(listing) => self.accept(&before, listing),
            Err(error) => self.use_last(self.with_cached_also((*before).clone()), &error),
        }
        self.evict();
    }

    /// `listing` with what the cache has of the models that are listed beside the served ones.
    fn with_cached_also(&self, mut listing: Listing) -> Listing {
        let Some(cache) = self.cache.as_ref().filter(|_| self.served.is_some()) else { return listing };
        let also = self.also.lock().unwrap_or_else(PoisonError::into_inner);
        for name in also.iter().filter(|name| !listing.contains_key(*name)).collect::<Vec<_>>() {
            listing.extend(cache.listing(name).map(|model| (name.clone(), Arc::new(model))));
        }
        listing
    }

    pub(super) fn list_also(&self, models: &BTreeSet<String>) {
        self.also.lock().unwrap_or_else(PoisonError::into_inner).clone_from(models);
    }

    pub(super) fn stale(&self) -> Option<String> {
        self.state().stale.clone()
    }

    /// Lists every served model. Flavors are taken from `before`, and a single model that cannot be read keeps its last
    /// listing.
    fn list(&self, before: &Listing) -> Result<Listing, RegistryError> {
        let names = match &self.served {
            Some(names) => {
                let also = self.also.lock().unwrap_or_else(PoisonError::into_inner);
                let more = also.iter().filter(|name| !names.contains(name));
                names.iter().chain(more).cloned().collect()
            }
            None => listing::names(&self.client)?,
        };
        let mut listing = Listing::new();
        let (mut answered, mut first) = (names.is_empty(), None);
        for name in &names {
            let old = before.get(name);
            match ListedModel::fetch(&self.client, name, self.keep, old.map(|old| &**old)) {
                Ok(Some(model)) => {
                    answered = true;
                    self.state().model_errors.remove(name);
                    listing.insert(name.clone(), Arc::new(model));
                }
                Ok(None) => answered = true,
                Err(error @ RegistryError::Unreachable { .. }) => return Err(error),
                Err(error) => {
                    let text = error.to_string();
                    if self.state().model_errors.insert(name.clone(), text.clone()).as_ref() != Some(&text) {
                        tracing::warn!(model = name, error = text, "model cannot be listed");
                    }
                    listing.extend(old.map(|old| (name.clone(), Arc::clone(old))));
                    first = first.or(Some(error));
                }
            }
        }
        // when every call fails, the server is at fault and not a model
        match first {
            Some(error) if !answered => Err(error),
            _ => Ok(listing),
        }
    }

    fn accept(&self, before: &Listing, listing: Listing) {
        for (name, model) in &listing {
            if before.get(name) != Some(model) {
                self.store_listing(model);
            }
        }
        if let Some(cache) = &self.cache {
            before.keys().filter(|name| !listing.contains_key(*name)).for_each(|name| cache.remove_listing(name));
        }
        self.listing.store(Arc::new(listing));
        if self.state().stale.take().is_some() {
            tracing::info!(registry = self.address(), "model registry responds again");
        }
    }

    fn use_last(&self, listing: Listing, error: &RegistryError) {
        let mut state = self.state();
        if state.stale.is_none() {
            let models = listing.len();
            tracing::warn!(registry = self.address(), %error, models, "model registry does not respond, using its last listing");
        }
        state.stale = Some(error.to_string());
        self.listing.store(Arc::new(listing));
    }

    /// Reads the cached listings of the served models.
    fn cached(&self) -> Listing {
        let Some(cache) = &self.cache else { return Listing::new() };
        let kept = match &self.served {
            Some(names) => names.iter().filter_map(|name| cache.listing(name)).collect(),
            None => cache.listings(),
        };
        kept.into_iter().map(|model| (model.name.clone(), Arc::new(model))).collect()
    }

    fn store_listing(&self, listing: &ListedModel) {
        if let Some(Err(error)) = self.cache.as_ref().map(|cache| cache.store_listing(listing)) {
            self.warn_cache(&error);
        }
    }

    fn evict(&self) {
        let Some(cache) = &self.cache else { return };
        if self.state().evicted.is_some_and(|at| at.elapsed() < EVICTION_INTERVAL) {
            return;
        }
        self.state().evicted = Some(Instant::now());
        let listing = self.listing.load_full();
        for model in listing.values() {
            for (version, origin) in &model.versions {
                let digest = origin.identity(&model.name, *version);
                cache.touch(&CachedVersionKey { model: &model.name, version: *version, digest: &digest });
            }
        }
        cache.evict(SystemTime::now());
    }

    fn warn_cache(&self, error: &std::io::Error) {
        if !std::mem::replace(&mut self.state().cache_warned, true) {
            tracing::warn!(%error, "model files cannot be cached on disk: they are not available while the registry is down");
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

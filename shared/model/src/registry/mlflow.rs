//! Models of an MLflow server: listed and fetched over its REST interface, kept on disk, and served from there while
//! the server is down.
//!
//! The calls are those of MLflow's own client (<https://mlflow.org/docs/latest/api_reference/rest-api.html>); recorded
//! answers of a 3.17 server are in `tests/mlflow_server`.

mod address;
mod answers;
mod client;
mod files;
mod listing;
mod place;
mod tls;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;

use super::cache::{Cache, CacheKey};
use super::{ModelView, RegistryError, RegistryOptions};
pub use client::{Body, MlflowClient, Verb};
pub(super) use files::Files;
pub(super) use listing::Listed;
use listing::Origin;
use place::Place;

/// Time between two tidyings of the cache.
const TIDY: Duration = Duration::from_secs(3600);

type Listing = BTreeMap<String, Arc<Listed>>;

/// One MLflow server.
#[derive(Debug)]
pub(super) struct Mlflow {
    client: MlflowClient,
    served: Option<Vec<String>>,
    keep: usize,
    cache: Option<Cache>,
    listing: ArcSwap<Listing>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Why the listing is an old one.
    stale: Option<String>,
    tidied: Option<Instant>,
    /// Whether a cache that cannot be written to was told.
    told: bool,
    /// What was told of single models, so that it is told once.
    troubles: BTreeMap<String, String>,
}

impl Mlflow {
    /// Lists the server, or takes the kept listing when it does not answer.
    pub(super) fn open(options: &RegistryOptions) -> Result<Self, RegistryError> {
        let client = MlflowClient::new(options)?;
        let cache = options.cache_dir.as_deref().map(|dir| Cache::new(dir, client.base(), options.cache_size));
        let served = options.models.clone().map(|mut names| {
            names.sort();
            names.dedup();
            names
        });
        let keep = options.versions.max(1);
        let (listing, state) = (ArcSwap::default(), Mutex::default());
        let server = Self { client, served, keep, cache, listing, state };
        let kept = server.kept();
        match server.ask(&kept) {
            Ok(listing) => server.accept(&kept, listing),
            Err(error) if !error.is_denied() && !kept.is_empty() => server.stay(kept, &error),
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

    /// A model that need not be among those served.
    pub(super) fn look_up(&self, name: &str) -> Result<ModelView, RegistryError> {
        if let Some(view) = self.model(name) {
            return Ok(view);
        }
        let kept = self.cache.as_ref().and_then(|cache| cache.listing(name));
        match Listed::ask(&self.client, name, self.keep, kept.as_ref()) {
            Ok(Some(listed)) => {
                self.keep_listing(&listed);
                Ok(listed.view())
            }
            Ok(None) => Err(RegistryError::UnknownModel { model: name.to_owned() }),
            Err(error) => match kept {
                Some(kept) if !error.is_denied() => Ok(kept.view()),
                _ => Err(error),
            },
        }
    }

    /// Lists again. While the server does not answer, the old listing stays and [`Mlflow::stale`] says so.
    pub(super) fn refresh(&self) {
        let before = self.listing.load_full();
        match self.ask(&before) {
            Ok(listing) => self.accept(&before, listing),
            Err(error) => self.stay((*before).clone(), &error),
        }
        self.tidy();
    }

    pub(super) fn stale(&self) -> Option<String> {
        self.state().stale.clone()
    }

    /// The files of a version and its digest, kept or fetched.
    pub(super) fn read(&self, name: &str, version: u32) -> Result<(Files, [u8; 32]), RegistryError> {
        let listed = self.listing.load().get(name).cloned();
        let kept = || self.cache.as_ref().and_then(|cache| cache.listing(name));
        let of = |listed: &Listed| listed.versions.get(&version).cloned();
        let known = listed.as_deref().and_then(of).or_else(|| kept().as_ref().and_then(of));
        let origin = match known {
            Some(origin) => origin,
            None => listing::origin(&self.client, name, version)?,
        };
        let digest = origin.identity(name, version);
        let files = self.files(name, version, &digest, || {
            let place = Place::of_version(&self.client, name, version)?;
            files::fetch(&self.client, &place, origin.preprocessing.as_deref())
        })?;
        Ok((files, digest))
    }

    /// The files of a logged model, registered or not.
    pub(super) fn read_logged(&self, id: &str) -> Result<(Files, [u8; 32]), RegistryError> {
        let uri = format!("models:/{id}");
        let origin = Origin { source: uri.clone(), model_id: id.to_owned(), ..Origin::default() };
        let digest = origin.identity(id, 0);
        let files = self.files(id, 0, &digest, || {
            let place = Place::of_uri(&self.client, &uri)?;
            let place = place.ok_or_else(|| RegistryError::UnknownModel { model: id.to_owned() })?;
            files::fetch(&self.client, &place, None)
        })?;
        Ok((files, digest))
    }

    fn files(
        &self,
        model: &str,
        version: u32,
        digest: &[u8; 32],
        fetch: impl FnOnce() -> Result<Files, RegistryError>,
    ) -> Result<Files, RegistryError> {
        let Some(cache) = &self.cache else { return fetch() };
        let key = CacheKey { model, version, digest };
        match cache.files(&key) {
            Ok(Some(files)) => return Ok(files),
            Ok(None) => {}
            Err(fault) => tracing::warn!(model, version, %fault, "kept model files are broken, fetching them again"),
        }
        let _turn = cache.turn(&key, Duration::from_secs(30));
        if let Ok(Some(files)) = cache.files(&key) {
            return Ok(files);
        }
        let files = fetch()?;
        if let Err(error) = cache.keep(&key, &files) {
            self.complain(&error);
        }
        Ok(files)
    }

    /// Every served model. The flavors of `before` are taken over, and a model that cannot be read alone keeps its old
    /// listing.
    fn ask(&self, before: &Listing) -> Result<Listing, RegistryError> {
        let all;
        let names = match &self.served {
            Some(names) => names,
            None => {
                all = listing::names(&self.client)?;
                &all
            }
        };
        let mut listing = Listing::new();
        let (mut answered, mut first) = (names.is_empty(), None);
        for name in names {
            let old = before.get(name);
            match Listed::ask(&self.client, name, self.keep, old.map(|old| &**old)) {
                Ok(Some(model)) => {
                    answered = true;
                    self.state().troubles.remove(name);
                    listing.insert(name.clone(), Arc::new(model));
                }
                Ok(None) => answered = true,
                Err(error @ RegistryError::Unreachable { .. }) => return Err(error),
                Err(error) => {
                    let text = error.to_string();
                    if self.state().troubles.insert(name.clone(), text.clone()).as_ref() != Some(&text) {
                        tracing::warn!(model = name, error = text, "model cannot be listed");
                    }
                    listing.extend(old.map(|old| (name.clone(), Arc::clone(old))));
                    first = first.or(Some(error));
                }
            }
        }
        // where no call succeeds, it is not a matter of models
        match first {
            Some(error) if !answered => Err(error),
            _ => Ok(listing),
        }
    }

    fn accept(&self, before: &Listing, listing: Listing) {
        for (name, model) in &listing {
            if before.get(name) != Some(model) {
                self.keep_listing(model);
            }
        }
        if let Some(cache) = &self.cache {
            before.keys().filter(|name| !listing.contains_key(*name)).for_each(|name| cache.forget(name));
        }
        self.listing.store(Arc::new(listing));
        if self.state().stale.take().is_some() {
            tracing::info!(registry = self.address(), "model registry answers again");
        }
    }

    fn stay(&self, listing: Listing, error: &RegistryError) {
        let mut state = self.state();
        if state.stale.is_none() {
            let models = listing.len();
            tracing::warn!(registry = self.address(), %error, models, "model registry does not answer, its last listing is used");
        }
        state.stale = Some(error.to_string());
        self.listing.store(Arc::new(listing));
    }

    /// What the cache knows of the served models.
    fn kept(&self) -> Listing {
        let Some(cache) = &self.cache else { return Listing::new() };
        let kept = match &self.served {
            Some(names) => names.iter().filter_map(|name| cache.listing(name)).collect(),
            None => cache.listings(),
        };
        kept.into_iter().map(|model| (model.name.clone(), Arc::new(model))).collect()
    }

    fn keep_listing(&self, listing: &Listed) {
        if let Some(Err(error)) = self.cache.as_ref().map(|cache| cache.keep_listing(listing)) {
            self.complain(&error);
        }
    }

    fn tidy(&self) {
        let Some(cache) = &self.cache else { return };
        if self.state().tidied.is_some_and(|at| at.elapsed() < TIDY) {
            return;
        }
        self.state().tidied = Some(Instant::now());
        let listing = self.listing.load_full();
        for model in listing.values() {
            for (version, origin) in &model.versions {
                let digest = origin.identity(&model.name, *version);
                cache.touch(&CacheKey { model: &model.name, version: *version, digest: &digest });
            }
        }
        cache.tidy(SystemTime::now());
    }

    fn complain(&self, error: &std::io::Error) {
        if !std::mem::replace(&mut self.state().told, true) {
            tracing::warn!(%error, "model files cannot be kept on disk: without the registry there will be none");
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

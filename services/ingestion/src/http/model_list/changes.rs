//! Requests to load and unload models. They travel over the model directory, so that they hold for every replica, whichever
//! took them, and for those that start later.

use std::time::{Duration, Instant};

use forebay_contract::{ErrorCode, LoadState, Problem};

use super::ModelListing;
use super::served::newest;
use crate::auth::Caller;
use crate::rejection::HttpRejection;

/// Time between two looks at the model directory.
const LOOK: Duration = Duration::from_millis(20);
/// Longest time for the broker to store a request.
const STORE: Duration = Duration::from_secs(10);
/// Longest time for prediction to find a model in the registry.
const FIND: Duration = Duration::from_secs(20);
/// Longest time for every replica to load it.
const LOAD: Duration = Duration::from_secs(300);

/// Bytes of a model's name at most, as in MLflow.
const LONGEST_NAME: usize = 256;

/// How far the replicas are with a model.
enum Progress {
    /// The registry is not known to have it.
    Unlisted,
    Loading,
    Loaded,
    /// Why a replica cannot load it.
    Failed(String),
}

impl ModelListing {
    /// Serves `model`; returns when every live replica has loaded it. A model that is served already is left as it is.
    /// `parameter` is the name of one that the request has.
    ///
    /// # Errors
    /// `invalid_request` for a parameter, because none is known, and for what is no name; `forbidden` if the caller may not use the model or load one; `unknown_model` if the registry does not have it;
    /// `model_unavailable` if a replica cannot load it; `unavailable` if it takes too long.
    pub(crate) async fn load(
        &self,
        caller: Option<&Caller>,
        model: &str,
        parameter: Option<&String>,
    ) -> Result<(), HttpRejection> {
        if let Some(name) = parameter {
            let text = format!("parameter '{name}' is not supported: models are loaded as the model registry has them");
            return Err(HttpRejection::new(ErrorCode::InvalidRequest, text));
        }
        caller.map_or(Ok(()), |caller| caller.check_model(model))?;
        match self.served(model, None) {
            Ok(served) if served.ready => return Ok(()),
            Err(problem) if problem.code != ErrorCode::UnknownModel => return Err(problem.into()),
            _ => {}
        }
        let by = self.check_change(caller, "load", model)?;
        check_name(model)?;
        let generation = self.directory.set_override(model, true, by);
        // also if the caller hangs up, which ends this function here
        let _unless_found = TakenBack { listing: self, model, generation };
        self.wait_stored(model, generation).await?;
        self.wait_loaded(model).await?;
        tracing::info!(model, caller = by, generation, "model loaded by a request");
        Ok(())
    }

    /// Serves `model` no longer; returns when that outlives this replica.
    ///
    /// # Errors
    /// `forbidden` for the default model, and if the caller may not use the model or unload one; `unknown_model`;
    /// `unavailable` if the broker does not store it.
    pub(crate) async fn unload(&self, caller: Option<&Caller>, model: &str) -> Result<(), HttpRejection> {
        caller.map_or(Ok(()), |caller| caller.check_model(model))?;
        let by = self.check_change(caller, "unload", model)?;
        if model == self.models.name {
            let text = "it answers requests that name no model (models.name)";
            return Err(refused(by, "unload", model, text));
        }
        self.view(model)?;
        let generation = self.directory.set_override(model, false, by);
        self.wait_stored(model, generation).await?;
        tracing::info!(model, caller = by, generation, "model unloaded by a request");
        Ok(())
    }

    /// The name of a caller that may load and unload models.
    fn check_change<'c>(
        &self,
        caller: Option<&'c Caller>,
        action: &'static str,
        model: &str,
    ) -> Result<&'c str, HttpRejection> {
        if !self.writable {
            let text = "the served models follow the model registry (repository.writable is off)";
            return Err(forbidden(action, model, text));
        }
        match caller {
            Some(caller) if caller.is_admin() => Ok(caller.name()),
            Some(caller) => Err(refused(caller.name(), action, model, "the key needs admin=true")),
            None => Err(forbidden(action, model, "a key with admin=true is needed")),
        }
    }

    async fn wait_stored(&self, model: &str, generation: u64) -> Result<(), Problem> {
        let started = Instant::now();
        while !self.directory.is_stored(model, generation) {
            if started.elapsed() > STORE {
                let text = format!(
                    "the broker has not stored the request for model '{model}' within {STORE:?}; it holds at this replica \
                     alone, and everywhere once the broker takes it"
                );
                return Err(Problem::new(ErrorCode::Unavailable, text));
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(())
    }

    async fn wait_loaded(&self, model: &str) -> Result<(), Problem> {
        let started = Instant::now();
        loop {
            match self.progress(model) {
                Progress::Loaded => return Ok(()),
                Progress::Failed(why) => {
                    let text = format!("failed to load '{model}': {why}");
                    return Err(Problem::new(ErrorCode::ModelUnavailable, text));
                }
                Progress::Unlisted if started.elapsed() > FIND => {
                    let text = format!("failed to load '{model}': Request for unknown model, the registry has none");
                    return Err(Problem::new(ErrorCode::UnknownModel, text));
                }
                Progress::Loading if started.elapsed() > LOAD => {
                    let text = format!("model '{model}' is still being loaded after {LOAD:?}");
                    return Err(Problem::new(ErrorCode::Unavailable, text));
                }
                Progress::Unlisted | Progress::Loading => tokio::time::sleep(LOOK).await,
            }
        }
    }

    fn progress(&self, model: &str) -> Progress {
        let Some(view) = self.directory.view(model) else { return Progress::Unlisted };
        let version = self.wanted_of(&view).unwrap_or_else(|| newest(&view));
        // one that has yet to notice the request does not report the model, but it does report the default one
        let all = self.directory.replicas(&self.models.name);
        let reports = self.directory.replicas(model);
        let mut progress = Progress::Loaded;
        for replica in &all {
            let report = reports.iter().find(|report| report.replica == replica.replica);
            let state = report.and_then(|report| report.versions.iter().find(|state| state.version == version));
            match state.map(|state| (state.state(), &state.why)) {
                Some((LoadState::Ready, _)) => {}
                Some((LoadState::Failed, why)) => progress = Progress::Failed(why.clone()),
                _ => return Progress::Loading,
            }
        }
        if all.is_empty() { Progress::Loading } else { progress }
    }
}

/// Takes a request to load a model back if nothing is known of the model when it ends: otherwise the registry would be asked
/// for it for ever.
struct TakenBack<'a> {
    listing: &'a ModelListing,
    model: &'a str,
    generation: u64,
}

impl Drop for TakenBack<'_> {
    fn drop(&mut self) {
        if matches!(self.listing.progress(self.model), Progress::Unlisted) {
            self.listing.directory.clear_override(self.model, self.generation);
        }
    }
}

/// Every replica asks the registry for the name.
fn check_name(model: &str) -> Result<(), Problem> {
    if (1..=LONGEST_NAME).contains(&model.len()) && !model.contains(char::is_control) {
        return Ok(());
    }
    let text = format!("a model's name has 1 to {LONGEST_NAME} bytes and no control characters");
    Err(Problem::new(ErrorCode::InvalidRequest, text))
}

fn forbidden(action: &str, model: &str, why: &str) -> HttpRejection {
    HttpRejection::new(ErrorCode::Forbidden, format!("failed to {action} '{model}': {why}"))
}

/// The answer to a caller who could change other models or has tried to, with a line in the log.
fn refused(by: &str, action: &str, model: &str, why: &str) -> HttpRejection {
    tracing::warn!(model, caller = by, action, why, "change of the served models refused");
    forbidden(action, model, why)
}

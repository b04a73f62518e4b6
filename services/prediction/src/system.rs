//! The wiring of the stage: its edges, its actor and its threads.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Instant;

use actix::Actor;
use actix_rt::{Arbiter, ArbiterHandle};
use forebay_bus::{BusSettings, Inlet, Mesh, ModelDirectory, StageScope};
use forebay_contract::edges::{PREDICT, PREDICTIONS, RESULTS};
use forebay_contract::{Features, Stage};
use forebay_registry::{OnProgress, Registry, RegistryOptions, RegistryWatch, webhook};
use forebay_runtime::{Drain, Host, StartError};

use crate::actors::{FeaturesReceived, Predictor};
pub use crate::deliveries::Outlets;
use crate::loader::{LoadHistory, Loader};
use crate::loader_commands::LoaderCommand;
use crate::metrics::ModelMetrics;
use crate::report::{Overrides, Reporter};
use crate::settings::Settings;
use crate::shadow::ShadowScorer;
use crate::versions::{VersionStates, Versions};
use crate::work::Work;

/// Builds the stage on the given edges.
///
/// # Errors
/// When one of its threads cannot start.
pub fn stage(
    settings: &Settings,
    host: &Host,
    arbiter: &ArbiterHandle,
    outlets: Outlets,
    directory: &ModelDirectory,
) -> Result<Inlet<Features>, StartError> {
    let section = &settings.prediction;
    let metrics = ModelMetrics::register(host.metrics());
    let versions = load(settings, host, &metrics, directory)?;
    let shadow = ShadowScorer::spawn(&settings.shadows, &versions, metrics).map_err(StartError::failed)?;
    let scope = StageScope::new(host, Stage::Prediction, &host.settings().topics.predict);
    let component = host.lifecycle().register("prediction predictor");
    let delivery = &host.settings().delivery;
    let work = Work::new(scope, versions, outlets, shadow, section, delivery.in_flight);
    let (work, threads) = (work.parking_for(delivery.longest_wait()), section.threads);
    let predictor = Predictor::start_in_arbiter(arbiter, move |_| Predictor::new(work, threads, component));
    #[expect(clippy::disallowed_methods, reason = "permits bound the mailbox")]
    let inlet = Inlet::new(move |delivery| predictor.do_send(FeaturesReceived(delivery)));
    Ok(inlet)
}

/// Starts the thread that loads versions; the registry's webhook and the model directory wake it.
fn load(
    settings: &Settings,
    host: &Host,
    metrics: &ModelMetrics,
    directory: &ModelDirectory,
) -> Result<Arc<Versions>, StartError> {
    let (section, models) = (&settings.prediction, settings.models.clone());
    directory.keep_loaded(&models.name);
    webhook::serve(host, &models);
    let (commands_in, commands) = channel();
    let versions = Arc::new(Versions::new(commands_in));
    for (notifier, command) in
        [(host.registry_notifier(), LoaderCommand::ReadRegistry), (directory.changes(), LoaderCommand::ReadDirectory)]
    {
        let versions = Arc::downgrade(&versions);
        notifier.on_notify(move || versions.upgrade().iter().for_each(|versions| versions.send(command.clone())));
    }
    host.metrics().collect(VersionStates(Arc::downgrade(&versions)));
    let component = host.lifecycle().register("prediction models");
    let heartbeat = component.heartbeat();
    let beats = heartbeat.clone();
    let on_progress = OnProgress::new(move || beats.beat());
    let options = RegistryOptions { on_progress, ..models.registry_options() };
    let loader = Loader {
        versions: Arc::downgrade(&versions),
        commands,
        watch: RegistryWatch::new(move || Registry::open_with(&options), models.refresh),
        reporter: Reporter::new(directory.clone(), models.shown()),
        overrides: Overrides::default(),
        started: Instant::now(),
        models,
        warm: section.warm,
        policy: section.breaker(),
        grace: host.settings().delivery.timeout,
        metrics: metrics.clone(),
        heartbeat,
        component,
        history: LoadHistory::default(),
        without_stage: HashSet::new(),
    };
    loader.spawn().map_err(StartError::failed)?;
    Ok(versions)
}

/// The stage on the edges of its process.
///
/// # Errors
/// When an edge or the stage cannot start.
pub fn start(settings: &Settings, mesh: &mut Mesh, arbiter: &ArbiterHandle) -> Result<(), StartError> {
    let host = mesh.host().clone();
    let outlets = Outlets {
        results: mesh.outlet(Stage::Prediction, &RESULTS)?,
        predictions: mesh.outlet(Stage::Prediction, &PREDICTIONS)?,
        later: mesh.low_lane(Stage::Prediction, &PREDICT)?,
    };
    let inlet = stage(settings, &host, arbiter, outlets, &mesh.directory()?)?;
    mesh.serve(&PREDICT, inlet)
}

/// The stage as the only one of its process.
///
/// # Errors
/// As [`start`].
pub async fn run((bus, settings): (BusSettings, Settings), host: Host) -> Result<impl Drain, StartError> {
    let mut mesh = Mesh::of_stage(&host, bus, Stage::Prediction);
    start(&settings, &mut mesh, &Arbiter::new().handle())?;
    mesh.run()
}

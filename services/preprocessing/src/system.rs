//! The wiring of the stage: its edges, its actor and its thread.

use std::sync::mpsc::channel;

use actix::Actor;
use actix_rt::{Arbiter, ArbiterHandle};
use forebay_bus::{BusSettings, Inlet, Mesh, ModelDirectory, StageScope};
use forebay_contract::edges::{FEATURES, REQUESTS, RESULTS};
use forebay_contract::{Request, Stage};
use forebay_registry::{OnProgress, Registry, RegistryOptions, RegistryWatch, webhook};
use forebay_runtime::{Drain, Host, StartError};

use crate::actors::{Incoming, Preparer};
use crate::catalog::{CatalogPolicy, ModelCatalog};
pub use crate::outlets::Outlets;
use crate::promotion::PromotionGate;
use crate::refresh::{RefreshState, Refresher, WakeReason};
use crate::row::RowRules;
use crate::settings::Settings;

/// Builds the stage on the given edges.
///
/// # Errors
/// When the thread that reads the registry cannot start.
pub fn stage(
    settings: &Settings,
    host: &Host,
    arbiter: &ArbiterHandle,
    outlets: Outlets,
    directory: &ModelDirectory,
) -> Result<Inlet<Request>, StartError> {
    directory.keep_loaded(&settings.models.name);
    let catalog = ModelCatalog::default();
    refresh(settings, host, &catalog, directory)?;
    let scope = StageScope::new(host, Stage::Preprocessing, &host.settings().topics.requests);
    let component = host.lifecycle().register("preprocessing preparer");
    let models = (catalog, directory.clone());
    let preparer = Preparer::start_in_arbiter(arbiter, move |_| Preparer::new(scope, models, outlets, component));
    #[expect(clippy::disallowed_methods, reason = "permits bound the mailbox")]
    let inlet = Inlet::new(move |delivery| preparer.do_send(Incoming(delivery)));
    Ok(inlet)
}

/// Starts the thread that reads the registry; its webhook and the model directory wake it.
fn refresh(
    settings: &Settings,
    host: &Host,
    catalog: &ModelCatalog,
    directory: &ModelDirectory,
) -> Result<(), StartError> {
    let (models, section) = (&settings.models, &settings.preprocessing);
    webhook::serve(host, models);
    let (wake_up, wakes) = channel();
    for (notifier, why) in
        [(host.registry_notifier(), WakeReason::Registry), (directory.changes(), WakeReason::Directory)]
    {
        let wake_up = wake_up.clone();
        // without the thread the process is about to end
        notifier.on_notify(move || _ = wake_up.send(why));
    }
    let component = host.lifecycle().register("preprocessing model registry");
    let heartbeat = component.heartbeat();
    let beats = heartbeat.clone();
    let on_progress = OnProgress::new(move || beats.beat());
    let options = RegistryOptions { on_progress, ..models.registry_options() };
    let refresher = Refresher {
        catalog: catalog.clone(),
        watch: RegistryWatch::new(move || Registry::open_with(&options), models.refresh),
        wakes,
        directory: directory.clone(),
        gate: PromotionGate::new(section.gate),
        policy: CatalogPolicy {
            model: models.name.clone(),
            stage: models.stage.clone(),
            rules: RowRules::from(settings).register(host.metrics()),
            splits: settings.splits.clone(),
        },
        location: models.shown(),
        read_at: host.metrics().registry_read("preprocessing"),
        lifecycle: host.lifecycle().clone(),
        heartbeat,
        component,
        longest_wait: models.longest_wait(),
        state: RefreshState::default(),
    };
    refresher.spawn().map_err(StartError::failed)
}

/// The stage on the edges of its process.
///
/// # Errors
/// When an edge or the stage cannot start.
pub fn start(settings: &Settings, mesh: &mut Mesh, arbiter: &ArbiterHandle) -> Result<(), StartError> {
    let host = mesh.host().clone();
    let outlets = Outlets {
        features: mesh.outlet(Stage::Preprocessing, &FEATURES)?,
        results: mesh.outlet(Stage::Preprocessing, &RESULTS)?,
    };
    let inlet = stage(settings, &host, arbiter, outlets, &mesh.directory()?)?;
    mesh.serve(&REQUESTS, inlet)
}

/// The stage as the only one of its process.
///
/// # Errors
/// As [`start`].
pub async fn run((bus, settings): (BusSettings, Settings), host: Host) -> Result<impl Drain, StartError> {
    let mut mesh = Mesh::of_stage(&host, bus, Stage::Preprocessing);
    start(&settings, &mut mesh, &Arbiter::new().handle())?;
    mesh.run()
}

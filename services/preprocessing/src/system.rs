//! The wiring of the stage: its edges, its actor and its thread.

use std::sync::mpsc::channel;

use actix::Actor;
use actix_rt::{Arbiter, ArbiterHandle};
use forebay_bus::{Inlet, Mesh, ModelDirectory, StageScope};
use forebay_contract::edges::{FEATURES, REQUESTS, RESULTS};
use forebay_contract::{Request, Stage};
use forebay_model::{Registry, RegistryWatch};
use forebay_runtime::{Drain, Host, StartError};

use crate::actors::{Incoming, Preparer};
use crate::catalog::Catalog;
use crate::gate::Gate;
pub use crate::outlets::Outlets;
use crate::refresh::{Call, Read, Refresher};
use crate::registry::registry_options;
use crate::row::Rules;
use crate::settings::Settings;
use crate::table::Policy;

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
    let catalog = Catalog::default();
    refresh(settings, host, &catalog, directory)?;
    let scope = StageScope::new(host, Stage::Preprocessing, &host.settings().topics.requests);
    let component = host.lifecycle().register("preprocessing preparer");
    let preparer = Preparer::start_in_arbiter(arbiter, move |_| Preparer::new(scope, catalog, outlets, component));
    #[expect(clippy::disallowed_methods, reason = "permits bound the mailbox")]
    let inlet = Inlet::new(move |delivery| preparer.do_send(Incoming(delivery)));
    Ok(inlet)
}

/// Starts the thread that reads the registry; its webhook and the model directory wake it.
fn refresh(settings: &Settings, host: &Host, catalog: &Catalog, directory: &ModelDirectory) -> Result<(), StartError> {
    let (models, section) = (&host.settings().models, &settings.preprocessing);
    let (call, calls) = channel();
    for (notifier, why) in [(host.registry_notifier(), Call::Registry), (directory.changes(), Call::ModelDirectory)] {
        let call = call.clone();
        // without the thread the process is on its way out
        notifier.on_notify(move || _ = call.send(why));
    }
    let options = registry_options(models);
    let component = host.lifecycle().register("preprocessing model registry");
    let refresher = Refresher {
        catalog: catalog.clone(),
        watch: RegistryWatch::new(move || Registry::open_with(&options), models.refresh),
        calls,
        directory: directory.clone(),
        gate: Gate::new(section.gate),
        policy: Policy {
            model: models.name.clone(),
            stage: models.stage.clone(),
            rules: Rules::from(section),
            splits: settings.splits.clone(),
        },
        shown: models.shown(),
        read_at: host.metrics().registry_read("preprocessing"),
        lifecycle: host.lifecycle().clone(),
        heartbeat: component.heartbeat(),
        component,
        longest_read: models.longest_read(),
        read: Read::default(),
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
pub async fn run(settings: Settings, host: Host) -> Result<impl Drain, StartError> {
    let mut mesh = Mesh::of_stage(&host, Stage::Preprocessing);
    start(&settings, &mut mesh, &Arbiter::new().handle())?;
    mesh.run()
}

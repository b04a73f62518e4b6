//! The wiring: who talks to whom, and nothing else.

use actix::Actor;
use actix_rt::{Arbiter, ArbiterHandle};
use forebay_bus::kafka::{Edges, Route};
use forebay_bus::{Inlet, Outlet, StageScope};
use forebay_contract::{Features, Outcome, Request, Stage};
use forebay_runtime::{Drain, Host, StartError};

use crate::actors::{Incoming, Preparer};
use crate::catalog::Catalog;
use crate::refresh::Refresher;
use crate::row::Rules;
use crate::settings::Settings;

/// Where the stage sends to.
#[derive(Debug, Clone)]
pub struct Outlets {
    /// Rows that a model can answer.
    pub features: Outlet<Features>,
    /// Outcomes of everything else.
    pub results: Outlet<Outcome>,
}

/// The stage on whatever edges it is given.
///
/// # Errors
/// When the thread that reads the registry cannot start.
pub fn stage(
    settings: &Settings,
    host: &Host,
    arbiter: &ArbiterHandle,
    outlets: Outlets,
) -> Result<Inlet<Request>, StartError> {
    let catalog = Catalog::default();
    let refresher = Refresher {
        catalog: catalog.clone(),
        models: host.shared().models.clone(),
        rules: Rules::from(&settings.preprocessing),
        every: host.shared().models.refresh,
        lifecycle: host.lifecycle().clone(),
        component: host.lifecycle().register("preprocessing model registry"),
    };
    refresher.spawn().map_err(StartError::failed)?;
    let scope = StageScope::new(host, Stage::Preprocessing, &host.shared().topics.requests);
    let component = host.lifecycle().register("preprocessing preparer");
    let preparer = Preparer::start_in_arbiter(arbiter, move |_| Preparer::new(scope, catalog, outlets, component));
    #[expect(clippy::disallowed_methods, reason = "permits bound the mailbox")]
    let inlet = Inlet::new(move |delivery| preparer.do_send(Incoming(delivery)));
    Ok(inlet)
}

/// The stage over Kafka: the separate form.
///
/// # Errors
/// When an edge or the stage cannot start.
pub async fn start(settings: Settings, host: Host) -> Result<impl Drain, StartError> {
    let mut edges = Edges::open(&host, "preprocessing")?;
    let topics = &host.shared().topics;
    let outlets = Outlets {
        features: edges.outlet(&topics.features, Route::Travel),
        results: edges.outlet(&topics.results, Route::Home),
    };
    let arbiter = Arbiter::new();
    let inlet = stage(&settings, &host, &arbiter.handle(), outlets)?;
    edges.consume(&topics.requests, "forebay-preprocessing", inlet)?;
    Ok(edges)
}
